"""Names in pictures."""


def plot_text(text: str) -> str:
    """`text` as matplotlib shows it as it is: no formulas, bytes of a file name that are no UTF-8 as question marks."""
    return text.encode("utf-8", "replace").decode("utf-8").replace("$", r"\$")
