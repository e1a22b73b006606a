"""A model under another prior, or with fewer classes: what it answers, and what still holds."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

from emodc.model.decision import Decision
from emodc.model.model import Model
from emodc.model.prior import parse_prior

logger = logging.getLogger(__name__)


def with_prior(
    model: Model,
    prior: str | Mapping[str, float] | None = None,
    classes: Sequence[str] | None = None,
) -> Model:
    """Return a model that answers under a prior, and with some classes alone.

    The posterior is ``p(c | x) q_c / e_c`` up to a constant, with the prior q asked for and the
    effective one e of training. If the model keeps held-out images, their weights by class make
    prediction sets and early stopping hold under q, as long as the faces of each class look as they
    did there (`emodc.method.label_shift`).

    Args:
        model: stays as it is.
        prior: as in `emodc.model.prior.SPELLINGS`, or shares by class name; that of the model if
            not given.
        classes: names of the classes that may occur; all with a share above 0 if not given.

    Raises:
        ValueError: a class is unknown, fewer than two are left, or the model's priors are not
            known.
        OSError: a file with a prior cannot be read.
    """
    if prior is None and classes is None:
        return model
    decision, label_set = model.decision, model.label_set
    possible = set(decision.columns(len(label_set)).tolist())
    if prior is not None:
        if decision.prior is None:
            raise ValueError(
                f"model '{model.name}' does not say on which class shares it was trained, so no "
                "prior can take their place: run emodc calibrate on it"
            )
        asked = parse_prior(prior, label_set, decision.prior)
        possible = {k for k, share in enumerate(asked) if share > 0}
        # None: the errors say what they say, as before a prior was asked for.
        changed = None if asked == decision.prior.effective else asked
        known = decision.prior.model_copy(update={"asked": changed})
        decision = decision.model_copy(update={"prior": known})
    if classes is not None:
        possible &= {label_set.index(name) for name in classes}
    if len(possible) < 2:
        raise ValueError("fewer than two classes may occur: there is nothing to tell apart")
    chosen = sorted(possible) if len(possible) < len(label_set) else ()
    return _certified(model, decision.among(chosen))


def _certified(model: Model, decision: Decision) -> Model:
    """Return the model with a changed decision, and what can be promised of it."""
    if decision == model.decision:
        return model
    if model.held_out is not None:
        certified = model.held_out.certify(decision, model.schedule.timesteps)
        if decision.adaptive is not None and certified.adaptive is None:
            logger.warning(
                "%s: its held-out images are too few to certify early stopping under this prior; "
                "a fixed number of draws is taken",
                model.name,
            )
        return replace(model, decision=certified)
    if decision.adaptive is not None or decision.least_probability is not None:
        logger.warning(
            "%s: it keeps no held-out images to certify early stopping and prediction sets for "
            "this prior, so there are none: calibrate it again",
            model.name,
        )
    nothing = {"adaptive": None, "least_probability": None}
    return replace(model, decision=decision.model_copy(update=nothing))
