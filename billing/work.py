"""What kinds of work are called where people read them, on pages, documents and in the console; pure."""

# By what a gateway sends as its job type, which is also what the `kind` of files and of the API says.
KINDS = {"": "Transcoding", "lv2v": "Live video to video", "live": "Live session", "fixed": "Single job"}


def kind_word(kind: str) -> str:
    """`Live video to video` from `lv2v`."""
    return KINDS.get(kind, kind)


def work_name(label: str, kind: str) -> str:
    """What the customer called the work, else its kind."""
    return label or kind_word(kind)
