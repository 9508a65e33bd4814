"""The one error for what a caller can mend."""


class InputError(ValueError):
    """An argument, a parameter or a file that is not as it must be; the message names it, what was expected, what came.

    Apart from OSError and MemoryError, all else that goes wrong is a defect of the program and keeps its traceback.
    """
