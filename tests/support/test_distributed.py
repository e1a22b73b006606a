"""Two processes (gloo) must do what one does. They are forked, so as not to import torch again."""

import json
import multiprocessing
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from accelerate.state import AcceleratorState, GradientState, PartialState
from numpy.typing import NDArray
from safetensors import safe_open

from emodc.data import open_data
from emodc.evaluation.evaluate import evaluate
from emodc.faces.geometry import FER2013_GEOMETRY
from emodc.method.schedule import ShiftedCosine
from emodc.model.identity import state_hash
from emodc.model.model import Model
from emodc.reports.evaluation_report import EvaluationReport
from emodc.support.distributed import SPLIT, World, join
from emodc.training import encoded_cache as x0_cache
from emodc.training.batches import Sampler
from emodc.training.log import STATE, read_metrics
from emodc.training.loop import train
from emodc.training.recipe import Recipe, dump_recipe, parse_recipe
from emodc.training.state import RunState

SCHEDULE = ShiftedCosine().build()

# That the geometry is known saves measuring it.
_TRAINING = replace(open_data("synthetic:count=42,size=16", "train"), geometry=FER2013_GEOMETRY)
_VALIDATION = open_data("synthetic:count=14,size=16", "validation")

_BACKBONE = {"widths": [8, 8, 8, 8], "depths": [1, 1, 1], "embedding": 16}


def kill_a_worker(launcher: subprocess.Popen[str], run_folder: Path) -> None:
    """Kill one of the launched trainings in its course; the launcher ends the other one."""
    metrics = run_folder / "metrics.jsonl"
    deadline = time.monotonic() + 240
    while not (metrics.exists() and len(metrics.read_text().splitlines()) >= 3):
        assert time.monotonic() < deadline
        assert launcher.poll() is None
        time.sleep(0.05)
    psutil.Process(launcher.pid).children()[1].kill()
    launcher.communicate()
    assert launcher.returncode != 0
    assert not (run_folder / "report.json").exists()


def recipe(**changes: Any) -> Recipe:
    values: dict[str, Any] = {
        "name": "tiny",
        "model": {"codec": {"kind": "pixel", "size": 16}, "backbone": _BACKBONE},
        "samples": 50,
        "batch_size": 9,  # the shares of two processes differ
        "phases": [
            {"share": 0.5, "objective": {"kind": "base"}, "trunk_weight": 0.5},
            {"share": 0.5, "objective": {"kind": "amdit", "negatives": "all"}},
        ],
        "optimizer": {"warm_up": 16},
        "validation": {"every": 18, "images": 13, "steps": 2},
    }
    return parse_recipe(values | changes, "test")


def in_processes(task: Callable[[World], Any], size: int = 2) -> list[Any]:
    """Return what ``task`` returns in each of several processes, or the text of its exception."""
    context = multiprocessing.get_context("fork")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    answers = context.Queue()
    leaving = context.Barrier(size)

    def work(rank: int) -> None:
        torch.set_num_threads(1)  # a forked process cannot use its parent's threads
        for state in (AcceleratorState, GradientState, PartialState):
            state._reset_state()
        names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "MASTER_PORT": port}
        os.environ.update({name: str(value) for name, value in names.items()})
        os.environ["MASTER_ADDR"] = "127.0.0.1"
        world = join("cpu")
        try:
            answers.put((rank, task(world)))
        except Exception as error:
            answers.put((rank, f"{type(error).__name__}: {error}"))
        leaving.wait(timeout=60)  # the first to leave takes the meeting point with it

    workers = [context.Process(target=work, args=(rank,), daemon=True) for rank in range(size)]
    for worker in workers:
        worker.start()
    found = dict(answers.get(timeout=120) for _ in workers)
    for worker in workers:
        worker.join(timeout=60)
        assert worker.exitcode == 0
    return [found[rank] for rank in range(size)]


def run(chosen: Recipe, output: Path, **options: Any) -> None:
    train(chosen, _TRAINING, _VALIDATION, output, device="cpu", **options)


def test_processes_find_and_tell_each_other() -> None:
    def talk(world: World) -> Any:
        return (
            world.rank,
            world.is_main,
            list(world.share(range(10, 15))),
            world.gather(world.rank * 11),
            world.from_main(lambda: f"from {world.rank}"),
            [world.any(flag) for flag in (False, world.is_main, not world.is_main, True)],
        )

    first, second = in_processes(talk)
    common = ([0, 11], "from 0", [False, True, True, True])
    assert first == (0, True, [10, 11], *common)
    assert second == (1, False, [12, 13, 14], *common)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 12])
def test_shares_make_up_the_whole(size: int) -> None:
    whole = range(3, 13)
    shares = [World(rank, size).share(whole) for rank in range(size)]
    assert [n for share in shares for n in share] == list(whole)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_draws_are_the_same_bit_for_bit() -> None:
    chosen = recipe()
    alone = Sampler(_TRAINING, chosen, SCHEDULE).batch(range(18, 27))

    def draw(world: World) -> Any:
        batch = Sampler(_TRAINING, chosen, SCHEDULE).batch(world.share(range(18, 27)))
        return {name: values.numpy() for name, values in vars(batch).items()}

    shares = in_processes(draw)
    for name, values in vars(alone).items():
        both = torch.cat([torch.from_numpy(share[name]) for share in shares])
        assert torch.equal(both, values), name


def assert_same_run(first: Path, second: Path) -> None:
    lines = [read_metrics(folder) for folder in (first, second)]
    assert [line["samples"] for line in lines[0]] == [line["samples"] for line in lines[1]]
    for line, other in zip(*lines, strict=True):
        assert line == pytest.approx(other, rel=1e-4)


def test_training_is_the_same_on_two_processes_and_may_change_their_number(tmp_path: Path) -> None:
    def both(world: World) -> Any:
        seen: list[int] = []
        states: list[RunState] = []
        kept = RunState.__post_init__

        def spied(state: RunState) -> None:
            kept(state)
            states.append(state)

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(RunState, "__post_init__", spied)
            run(
                recipe(), tmp_path / "two", on_metrics=lambda samples, metrics: seen.append(samples)
            )
        return seen, [state_hash(m.state_dict()) for m in (states[0].backbone, states[0].average)]

    def keep(samples: int, metrics: dict[str, float]) -> None:
        if samples == 18:  # the state of a run that will be killed later
            (tmp_path / "kept").write_bytes((tmp_path / "one" / STATE).read_bytes())

    run(recipe(), tmp_path / "one", on_metrics=keep)
    (told, weights), (nothing, same_weights) = in_processes(both)
    assert (told, nothing) == ([18, 36, 54], [])
    assert weights == same_weights  # bit for bit
    assert_same_run(tmp_path / "one", tmp_path / "two")
    for file in ("report.json", "README.md", "config.yaml", "validation.csv"):
        assert (tmp_path / "two" / file).exists()

    (tmp_path / "two" / STATE).write_bytes((tmp_path / "kept").read_bytes())
    assert [told for told, _ in in_processes(both)] == [[36, 54], []]
    assert_same_run(tmp_path / "one", tmp_path / "two")


def test_an_interruption_of_one_process_stops_all_and_the_run_goes_on(tmp_path: Path) -> None:
    def interrupt(samples: int, metrics: dict[str, float]) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    def both(world: World) -> str:
        with pytest.raises(KeyboardInterrupt):
            run(recipe(), tmp_path / "two", on_metrics=interrupt)
        return "stopped"

    assert in_processes(both) == ["stopped", "stopped"]
    with safe_open(tmp_path / "two" / STATE, framework="pt") as state:
        assert json.loads(state.metadata()["emodc"])["samples"] == 18
    run(recipe(), tmp_path / "two")
    run(recipe(), tmp_path / "one")
    assert_same_run(tmp_path / "one", tmp_path / "two")


def test_processes_fill_one_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMODC_CACHE", str(tmp_path))
    monkeypatch.setattr(x0_cache, "SHARD", 4)
    still = {"flip": 0.5, "rotate": 0, "zoom": 0, "shift": 0}
    chosen = recipe(cache=True, augment=still)
    alone = Sampler(_TRAINING, recipe(augment=still), SCHEDULE).batch(range(20)).x0

    def draw(world: World) -> Any:
        reads: list[int] = []

        def reader(index: int) -> NDArray[np.uint8]:
            reads.append(index)
            return _TRAINING.image(index)

        counted = replace(_TRAINING, reader=reader)
        sampler = Sampler(counted, chosen, SCHEDULE, torch.device("cpu"), world)
        return reads, sampler.batch(range(20)).x0.numpy()

    (first, x0), (second, same_x0) = in_processes(draw)
    assert sorted(first + second) == list(range(42))
    assert abs(len(first) - len(second)) <= 4
    assert np.array_equal(x0, same_x0)
    assert torch.allclose(torch.from_numpy(x0), alone, atol=1e-5)


def test_too_many_processes_for_a_batch_are_refused(tmp_path: Path) -> None:
    answers = in_processes(lambda world: run(recipe(batch_size=1), tmp_path / "run"))
    assert answers == ["ValueError: batch_size 1 is less than the 2 processes"] * 2
    assert not (tmp_path / "run").exists()


def figures(report: EvaluationReport) -> dict[str, Any]:
    return {key: value for key, value in report.to_json().items() if key != "seconds_per_image"}


def test_evaluation_is_the_same_on_two_processes(tiny_model: Model, tmp_path: Path) -> None:
    data = open_data("synthetic:count=70,size=16", "test")
    alone = evaluate(tiny_model, data, steps=3, output=tmp_path / "one")

    def both(world: World) -> Any:
        seen: list[tuple[int, int]] = []
        report = evaluate(
            tiny_model,
            data,
            steps=3,
            output=tmp_path / "two",
            progress=lambda done, total, note="": seen.append((done, total)),
            world=world,
        )
        return report, seen

    (first, shown), (second, _) = in_processes(both)
    assert first == second
    assert figures(first) == figures(alone)
    assert shown == [(0, 38), (16, 38), (32, 38), (38, 38)]
    tables = [(tmp_path / name / "predictions.csv").read_text() for name in ("one", "two")]
    assert tables[0] == tables[1]
    assert json.loads((tmp_path / "two" / "report.json").read_text()) == first.to_json()

    # One process alone goes on from what two have saved, and the other way round.
    for chunk in sorted((tmp_path / "two" / "errors").iterdir())[1:4]:
        chunk.unlink()
    (first, shown), _ = in_processes(both)
    assert shown[-1] == (16 + 6 + 32, 16 + 6 + 32)
    assert figures(first) == figures(alone)
    assert figures(evaluate(tiny_model, data, steps=3, output=tmp_path / "two")) == figures(alone)


def test_fsdp_is_done_here_and_not_by_accelerate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setenv(SPLIT, "false")
    assert not join().splits  # it is alone
    assert (os.environ["ACCELERATE_USE_FSDP"], os.environ[SPLIT]) == ("false", "true")


@pytest.mark.parametrize("name", ["DEEPSPEED", "MEGATRON_LM"])
def test_other_ways_to_split_the_model_are_refused(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(f"ACCELERATE_USE_{name}", "true")
    with pytest.raises(ValueError, match=r"DeepSpeed.* not supported"):
        join()


def test_a_launcher_that_starts_one_process_where_several_were_wanted_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("ACCELERATE_USE_CPU", "True")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    assert join().size == 1
    assert "started one process" in caplog.text


_ACCELERATE = [sys.executable, "-m", "accelerate.commands.launch"]
_CONFIGURATIONS = Path(__file__).parents[2] / "configs" / "accelerate"
_LAUNCHERS = {
    "file": [*_ACCELERATE, "--config_file", str(_CONFIGURATIONS / "cpu.yaml")],
    "flags": [*_ACCELERATE, "--multi_gpu", "--num_processes", "2"],
    "torchrun": [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"],
    "none": [sys.executable],
}


def launched(arguments: str, launcher: str = "file", **options: Any) -> subprocess.Popen[str]:
    """Start ``emodc`` as a user would."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.Popen(
        [*_LAUNCHERS[launcher], "-m", "emodc", *arguments.split()],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


@pytest.mark.slow
def test_accelerate_launch_trains_is_killed_goes_on_and_evaluates(tmp_path: Path) -> None:
    data = "--data synthetic:count=70,size=16"
    validation = {"every": 90, "images": 13, "steps": 2}
    text = dump_recipe(recipe(samples=1000, validation=validation))
    (tmp_path / "tiny.yaml").write_text(text)

    def train_command(folder: str) -> str:
        return f"train {tmp_path}/tiny.yaml {data} --output {tmp_path}/{folder} --device cpu"

    alone = launched(train_command("one"), "none")
    assert alone.communicate()[0] == ""
    assert alone.returncode == 0

    kill_a_worker(launched(train_command("two")), tmp_path / "two")

    again = launched(train_command("two"))
    out, err = again.communicate()
    assert (again.returncode, out) == (0, "")
    assert len(re.findall("going on from [1-9]", err)) == 1
    assert err.count("the model is in") == 1
    first, second = (read_metrics(tmp_path / name) for name in ("one", "two"))
    assert [line["samples"] for line in first] == [line["samples"] for line in second]
    for line, other in zip(first[:5], second[:5], strict=True):
        assert line["loss"] == pytest.approx(other["loss"], rel=1e-3)

    evaluation = f"evaluate --model {tmp_path}/one {data} --steps 100 --json --device cpu"
    reports = []
    for processes, launcher in ((1, "none"), (2, "file")):
        ended = launched(f"{evaluation} --output {tmp_path}/e{processes}", launcher)
        out, err = ended.communicate()
        assert ended.returncode == 0, err
        reports.append(figures(EvaluationReport.from_json(json.loads(out))))
    assert reports[0] == reports[1]
    tables = [(tmp_path / f"e{n}" / "predictions.csv").read_text() for n in (1, 2)]
    assert tables[0] == tables[1]


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["flags", "torchrun"])
def test_other_launchers_start_two_processes_too(tmp_path: Path, launcher: str) -> None:
    (tmp_path / "tiny.yaml").write_text(dump_recipe(recipe()))
    data = "--data synthetic:count=42,size=16 --device cpu"
    for folder, how in (("one", "none"), ("two", launcher)):
        ended = launched(f"train {tmp_path}/tiny.yaml {data} --output {tmp_path}/{folder}", how)
        err = ended.communicate()[1]
        assert ended.returncode == 0, err
        assert err.count("the model is in") == 1  # the main process speaks for both
    assert_same_run(tmp_path / "one", tmp_path / "two")
    # Sums over other parts of a batch round differently: two processes were at work.
    states = [(tmp_path / folder / STATE).read_bytes() for folder in ("one", "two")]
    assert states[0] != states[1]
