"""Label sets: the ordered class names that give every class index its meaning.

One vocabulary serves all datasets. A dataset's own codes are translated to these names
where it is read, and the order below is stored in every checkpoint and report, so that an
index never travels without its name.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

ALIASES = {
    "happy": "happiness",
    "sad": "sadness",
    "angry": "anger",
    "surprised": "surprise",
    "disgusted": "disgust",
    "fearful": "fear",
    "afraid": "fear",
    "contemptuous": "contempt",
}
"""Other common spellings of a class name, lower case, to the name used here."""

ADJECTIVES = {
    "neutral": "neutral",
    "happiness": "happy",
    "surprise": "surprised",
    "sadness": "sad",
    "anger": "angry",
    "disgust": "disgusted",
    "fear": "fearful",
    "contempt": "contemptuous",
}
"""The adjective of each class, for text prompts; the name of a compound class is one itself."""

NULL_TEXT, NON_CLASS_TEXT = "", "a photo of a face"
"""The texts of the null prompt and of the non-class prompt."""


def canonical_name(name: str) -> str:
    """Return the vocabulary's spelling of a class name.

    Args:
        name: any spelling: case, white space and underscores do not matter, and an alias
            ("happy") is resolved. A name outside the vocabulary comes back in lower case.
    """
    key = " ".join(name.lower().replace("_", " ").split())
    return ALIASES.get(key, key)


def prompt_text(name: str) -> str:
    """Return what a class is called to a text-conditioned network: "a photo of a happy face".

    Args:
        name: a canonical class name; one without an adjective of its own is described by its
            noun: "a photo of a face showing boredom". Compound names ("happily surprised") are
            adjectives already.
    """
    adjective = ADJECTIVES.get(name, name if name in COMPOUND11.classes else None)
    if adjective is None:
        return f"a photo of a face showing {name}"
    article = "an" if adjective[0] in "aeiou" else "a"
    return f"a photo of {article} {adjective} face"


@dataclass(frozen=True)
class LabelSet:
    """An ordered set of class names.

    Attributes:
        name: what the set is called in checkpoints and reports.
        classes: canonical class names; the position is the class index.

    Raises:
        ValueError: fewer than two classes, or one that appears twice or has no name.
    """

    name: str
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.classes) < 2:
            raise ValueError(f"label set '{self.name}' needs at least two classes")
        if len(set(self.classes)) != len(self.classes):
            raise ValueError(f"label set '{self.name}' names a class twice: {self.classes}")
        if not all(self.classes):
            raise ValueError(f"label set '{self.name}' has a class without a name: {self.classes}")

    def __len__(self) -> int:
        return len(self.classes)

    def index(self, name: str) -> int:
        """Return the class index of a name or alias.

        Raises:
            ValueError: the set has no such class; the message lists those it has.
        """
        try:
            return self.classes.index(canonical_name(name))
        except ValueError:
            raise ValueError(
                f"unknown class '{name}': label set '{self.name}' has {', '.join(self.classes)}"
            ) from None


_SEVEN = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear")

BASIC7 = LabelSet("basic7", _SEVEN)
"""The seven basic expressions in FER+ order."""

BASIC8 = LabelSet("basic8", (*_SEVEN, "contempt"))
"""The seven and contempt, in FER+ order."""

COMPOUND11 = LabelSet(
    "compound11",
    (
        "happily surprised",
        "happily disgusted",
        "sadly fearful",
        "sadly angry",
        "sadly surprised",
        "sadly disgusted",
        "fearfully angry",
        "fearfully surprised",
        "angrily surprised",
        "angrily disgusted",
        "disgustedly surprised",
    ),
)
"""The compound expressions of RAF-DB, in the order of its codes 1..11."""


def label_set_of(classes: Iterable[str]) -> LabelSet:
    """Return the label set for these class names in this order.

    A known order gets its known name; any other is called ``custom<K>``.
    """
    names: Sequence[str] = tuple(canonical_name(name) for name in classes)
    for known in (BASIC7, BASIC8, COMPOUND11):
        if known.classes == names:
            return known
    return LabelSet(f"custom{len(names)}", tuple(names))


def common_classes(models: Sequence[LabelSet], dataset: LabelSet) -> tuple[str, ...]:
    """Return the classes that all models and a dataset have, by name, in the first model's order.

    Args:
        models: at least one.
        dataset: the dataset's.

    Raises:
        ValueError: they have fewer than two in common.
    """
    known = [{canonical_name(name) for name in other.classes} for other in (*models, dataset)]
    names = [canonical_name(name) for name in models[0].classes]
    common = tuple(name for name in names if all(name in other for other in known))
    if len(common) < 2:
        told = "; another, ".join(", ".join(model.classes) for model in models)
        raise ValueError(
            f"the model tells {told} apart, the dataset has "
            f"{', '.join(dataset.classes)}: at least two classes must be common to "
            f"{'both' if len(models) == 1 else 'all'}"
        )
    return common


def prompt_texts(label_set: LabelSet, changed: Mapping[str, str]) -> list[str]:
    """Return the texts of all prompts: the K classes, then the null and the non-class prompt.

    Args:
        label_set: the K classes.
        changed: other texts for some, by class name, ``null`` or ``non_class``.

    Raises:
        ValueError: a name is none of these.
    """
    texts = {name: prompt_text(name) for name in label_set.classes}
    texts |= {"null": NULL_TEXT, "non_class": NON_CLASS_TEXT}
    for name, text in changed.items():
        key = name if name in texts else canonical_name(name)
        if key not in texts:
            raise ValueError(f"prompts: unknown name '{name}': accepted are {', '.join(texts)}")
        texts[key] = text
    return list(texts.values())
