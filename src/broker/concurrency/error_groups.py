"""Pick the exception of a group to report: a log line has room for one."""


def first_error[E: BaseException](group: BaseExceptionGroup[E]) -> E:
    """Return the first exception of a group, however deep; usually it caused the others."""
    error: E | BaseExceptionGroup[E] = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
