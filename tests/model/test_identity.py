from dataclasses import replace

import torch

from emodc.model.identity import model_identity, state_hash, weights_hash
from emodc.model.model import Model


def test_what_decides_the_errors_decides_the_identity(tiny_model: Model) -> None:
    own = model_identity(tiny_model)
    assert own == model_identity(replace(tiny_model, name="other", facts={"a": 1}))
    changed = {
        "precision": replace(tiny_model, precision="bf16"),
        "way of showing images": replace(
            tiny_model, decision=tiny_model.decision.model_copy(update={"mirror": True})
        ),
    }
    for name, model in changed.items():
        other = model_identity(model)
        assert {key for key in own if own[key] != other[key]} == {name}
    scaled = tiny_model.decision.model_copy(update={"scale": 3.0})  # errors come before it
    assert model_identity(replace(tiny_model, decision=scaled)) == own


def test_a_hash_of_weights_tells_values_names_and_base() -> None:
    state = {"a": torch.arange(6.0).view(2, 3), "b": torch.ones(2)}
    known = state_hash(state)
    columns = state["a"].T.contiguous().T  # another layout of the same numbers
    assert state_hash({"b": state["b"], "a": columns}) == known
    others = [{**state, "b": -state["b"]}, {"a": state["a"], "c": state["b"]}]
    hashes = [known, *(state_hash(other) for other in others), state_hash(state, "base")]
    assert len(set(hashes)) == len(hashes)


def test_the_weights_of_a_model_are_hashed(tiny_model: Model) -> None:
    assert weights_hash(tiny_model) == state_hash(tiny_model.backbone.state_dict())
