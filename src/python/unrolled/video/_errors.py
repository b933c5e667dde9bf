"""What can be wrong with a video."""


class VideoError(ValueError):
    """A file that is no video, or a video that cannot be used; the text names it."""


class DamagedVideoWarning(UserWarning):
    """A video of which parts could not be decoded; the rest was."""
