"""Numbers and dates in words, in English and German, to try translation with no data at hand."""

from datetime import date

from unrolled.training import counter_rng

from ._parallel import Pair


def _words(text: str) -> list[str]:
    return text.split()


_ENGLISH = _words(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen"
)
_ENGLISH_TENS = _words("twenty thirty forty fifty sixty seventy eighty ninety")
_ENGLISH_ORDINALS = {
    "one": "first",
    "two": "second",
    "three": "third",
    "five": "fifth",
    "eight": "eighth",
    "nine": "ninth",
    "twelve": "twelfth",
}
_GERMAN = _words(
    "null eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn vierzehn "
    "fünfzehn sechzehn siebzehn achtzehn neunzehn"
)
_GERMAN_TENS = _words("zwanzig dreißig vierzig fünfzig sechzig siebzig achtzig neunzig")
_GERMAN_ORDINALS = {"eins": "erste", "drei": "dritte", "sieben": "siebte", "acht": "achte"}
_MONTHS = _words(
    "January February March April May June July August September October November December"
)
_MONATE = _words(
    "Januar Februar März April Mai Juni Juli August September Oktober November Dezember"
)
_DAYS = _words("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")
_TAGE = _words("Montag Dienstag Mittwoch Donnerstag Freitag Samstag Sonntag")

#: Numbers are below this, years from 1100 to 2099.
_NUMBERS, _FIRST_DAY, _LAST_DAY = 1_000_000, date(1100, 1, 1), date(2099, 12, 31)


def english(number: int) -> str:
    """Returns a number below a million in English words."""
    if number < 20:
        return _ENGLISH[number]
    if number < 100:
        tens, ones = divmod(number, 10)
        return _ENGLISH_TENS[tens - 2] + (f"-{_ENGLISH[ones]}" if ones else "")
    if number < 1000:
        hundreds, rest = divmod(number, 100)
        return f"{_ENGLISH[hundreds]} hundred" + (f" and {english(rest)}" if rest else "")
    thousands, rest = divmod(number, 1000)
    link = " and " if 0 < rest < 100 else " "
    return f"{english(thousands)} thousand" + (f"{link}{english(rest)}" if rest else "")


def german(number: int) -> str:
    """Returns a number below a million in German words, which are one word."""
    if number < 20:
        return _GERMAN[number]
    if number < 100:
        tens, ones = divmod(number, 10)
        return (_stem(ones) + "und" if ones else "") + _GERMAN_TENS[tens - 2]
    unit, word = (100, "hundert") if number < 1000 else (1000, "tausend")
    many, rest = divmod(number, unit)
    return _stem(many) + word + (german(rest) if rest else "")


def _stem(number: int) -> str:
    """A German number before another one, as "ein" in "einhundert"."""
    text = german(number)
    return text.removesuffix("s") if text.endswith("eins") else text


def _english_day(day: int) -> str:
    text = english(day)
    before, dash, last = text.rpartition("-")
    last = _ENGLISH_ORDINALS.get(last) or (last[:-1] + "ieth" if last[-1] == "y" else last + "th")
    return f"{before}{dash}{last}"


def _german_day(day: int) -> str:
    text = german(day)
    return _GERMAN_ORDINALS.get(text) or text + ("te" if day < 20 else "ste")


def _english_year(year: int) -> str:
    century, rest = divmod(year, 100)
    if 2000 <= year < 2010 or not rest:
        return english(year) if century % 10 == 0 else f"{english(century)} hundred"
    return f"{english(century)} " + (f"oh {english(rest)}" if rest < 10 else english(rest))


def _german_year(year: int) -> str:
    century, rest = divmod(year, 100)
    if 1100 <= year < 2000:
        return f"{german(century)}hundert" + (german(rest) if rest else "")
    return german(year)


def make_pairs(count: int) -> list[Pair]:
    """Returns different numbers and dates in English and German, half of each.

    Which ones follows from nothing but their number.
    """
    rng = counter_rng(0, 0, 0)
    pairs: dict[str, Pair] = {}
    days = (_LAST_DAY - _FIRST_DAY).days
    while len(pairs) < count:
        if rng.random() < 0.5:
            digits = int(rng.integers(1, 7))  # all lengths alike
            number = int(rng.integers(min(10**digits, _NUMBERS)))
            pair = Pair(english(number), (german(number),))
        else:
            day = date.fromordinal(_FIRST_DAY.toordinal() + int(rng.integers(days + 1)))
            pair = Pair(
                f"{_DAYS[day.weekday()]}, the {_english_day(day.day)} of "
                f"{_MONTHS[day.month - 1]} {_english_year(day.year)}",
                (
                    f"{_TAGE[day.weekday()]}, der {_german_day(day.day)} "
                    f"{_MONATE[day.month - 1]} {_german_year(day.year)}",
                ),
            )
        pairs[pair.source] = pair
    return list(pairs.values())
