"""What to say of an exception group: one line needs one error."""


def first_error[E: BaseException](group: BaseExceptionGroup[E]) -> E:
    """Return the first error of a group, however deep: as a rule, the others followed from it."""
    error: E | BaseExceptionGroup[E] = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
