"""LaTeX of the kind that formulas of bounds are made of, as text for a terminal."""

import re

__all__ = ["in_text", "unicode_of"]

_GREEK = dict(
    zip(
        "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau "
        "upsilon phi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega "
        "nabla partial sum prod sim geq neq mid ldots infty times tilde".split(),
        "αβγδεζηθικλμνξπρστυφχψωΓΔΘΛΞΠΣΥΦΨΩ∇∂ΣΠ~≥≠|…∞×~",
        strict=True,
    )
)
_SPACES = {",": " ", ";": " ", "!": "", "|": "‖"}
_SUPERSCRIPTS = str.maketrans("0123456789-+()kmin", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺⁽⁾ᵏᵐⁱⁿ")
_SUBSCRIPTS = str.maketrans("0123456789=+-()kmj", "₀₁₂₃₄₅₆₇₈₉₌₊₋₍₎ₖₘⱼ")
_TOKEN = re.compile(r"\\([A-Za-z]+)|\\(.)|([{}^_])|([^\\{}^_]+)")


def in_text(sentence: str) -> str:
    """A sentence with formulas between dollar signs, as text."""
    parts = sentence.split("$")
    return "".join(unicode_of(part) if i % 2 else part for i, part in enumerate(parts))


def unicode_of(latex: str) -> str:
    r"""A formula as text.

    Example:
        >>> unicode_of(r"\log \frac{1}{5} \sum_{k=1}^{5} \frac{p(x \mid z)}{q(z_{1})}")
        'log 1/5 Σₖ₌₁⁵ p(x | z) / q(z_1)'
    """
    text, _ = _read(_TOKEN.findall(latex), 0)
    return re.sub(r" +", " ", text).replace("( ", "(").replace(" )", ")").strip()


def _read(tokens: list[tuple[str, ...]], at: int) -> tuple[str, int]:
    """The text up to the end of a group, and where that is."""
    text = ""
    while at < len(tokens) and tokens[at][2] != "}":
        if tokens[at][2] in ("^", "_"):
            script, after = _group(tokens, at + 1)
            text = _with_script(text, tokens[at][2], script)
            at = after
        else:
            part, at = _one(tokens, at)
            text += part
    return text, at


def _one(tokens: list[tuple[str, ...]], at: int) -> tuple[str, int]:
    """The text of a command with its arguments, of a group or of letters."""
    command, escaped, special, letters = tokens[at]
    if special == "{":
        text, at = _read(tokens, at + 1)
        return text, at + 1
    if command == "frac":
        above, at = _group(tokens, at + 1)
        below, at = _group(tokens, at)
        return _fraction(above, below), at
    if command in ("mathbb", "mathcal", "mathrm", "tilde"):
        text, at = _group(tokens, at + 1)
        return text + ("~" if command == "tilde" else ""), at
    if command in ("left", "right"):
        return "", at + 1
    if command:
        return _GREEK.get(command, command), at + 1
    return (_SPACES.get(escaped, escaped) if escaped else letters), at + 1


def _group(tokens: list[tuple[str, ...]], at: int) -> tuple[str, int]:
    """The text of an argument: of a group in braces, or of one letter."""
    letters = tokens[at][3]
    if len(letters) > 1 and not letters.isspace():
        tokens[at] = ("", "", "", letters[1:])
        return letters[0], at
    return _one(tokens, at)


def _with_script(text: str, kind: str, script: str) -> str:
    """A text with what is set lower or higher behind it."""
    if kind == "_" and text.endswith(("Σ", "Π")):
        small = script.translate(_SUBSCRIPTS)
        if _is_small(small):
            return text + small
    small = script.translate(_SUPERSCRIPTS)
    if kind == "^" and _is_small(small):
        return text + small
    wide = not re.fullmatch(r"[\w.,~-]+", script)
    return text + kind + (f"{{{script}}}" if wide else script)


def _is_small(text: str) -> bool:
    return all(ord(letter) > 127 or letter == "," for letter in text)


def _fraction(above: str, below: str) -> str:
    """A fraction in one line, in brackets where it would be read otherwise."""
    if re.fullmatch(r"[\d.]+", above) and re.fullmatch(r"[\d.]+", below):
        return f"{above}/{below}"
    brackets = re.sub(r"\([^()]*\)", "", re.sub(r"\([^()]*\)", "", below))
    return f"{above} / ({below})" if " " in brackets.strip() else f"{above} / {below}"
