"""Files that settings name, and that are read again while the broker runs."""


class UnusableFileError(Exception):
    """A file cannot be used at the moment, perhaps because it is being replaced.

    The text begins with the variable that names the file, says why, and quotes nothing from it.
    """
