"""Resumption: what a resumed training must share with the one before, and how it takes up its state."""

from __future__ import annotations

import copy
import sys
from typing import Any

import numpy as np

from minihash import checks
from minihash.layers.dropout import LEVELS
from minihash.training.checkpoint import DAMAGES, Checkpoint, State, damaged
from minihash.training.evaluation import Mean
from minihash.training.history import WEIGHTS, History
from minihash.training.plan import Place, Plan

PLAIN = (bool, int, float, str, list, dict, type(None))  # of a callback's state: what JSON holds


def go_on(plan: Plan, saved: Checkpoint, resume: bool) -> Place | None:
    """Take up the state in a folder, if there is one, and return its place.

    Raises
    ------
    ValueError if there is one and it is not to be resumed, or it is that of another training.
    """
    state, settings = saved.read(), plan.settings
    if state is None:
        return None
    if not resume:
        found = f"checkpoint is {saved.folder}, which has a training"
        raise ValueError(f"{found}, wanted it resumed, or another folder")
    before = _with_scaling(state.settings)
    for name, value in settings.items():
        if before.get(name) != value and name != "epochs":
            found = f"{saved.folder} has a training with {name} {before.get(name)!r}"
            raise ValueError(f"{found}, wanted {value!r}: resume it with the same settings")
    try:
        _check_arrays(state, plan)
        _check_progress(state.progress, plan)
        for callback, kept in zip(plan.lasting, state.callbacks, strict=True):
            copy.copy(callback).restore(dict(kept))
    except DAMAGES as error:
        raise damaged(saved.path, error) from None
    return _take_up(state, plan, _start_of_schedule(plan, state, saved))


def describe(saved: Checkpoint, epochs: int) -> str:
    """Return where a training of so many epochs goes on from, in words; "" if it begins."""
    state = saved.read()
    if state is None:
        return ""
    _, end, done = _epochs_of(state, saved)
    if epochs <= end or done < end:
        return f"going on from {saved.folder}, after epoch {done} of {end}"
    added = f"{epochs - end} more, with a learning rate that begins its schedule anew"
    return f"going on from {saved.folder}, after its {end} epochs: {added}"


def _epochs_of(state: State, saved: Checkpoint) -> tuple[int, int, int]:
    """Return after how many epochs the schedule began, after how many it ends, and how many are done."""
    try:
        epochs = state.settings["epochs"]
        start, end = epochs if isinstance(epochs, list) else (0, epochs)
        numbers = start, end, state.progress["epoch"] - 1
        for number in numbers:
            checks.integer("a number of epochs", number, 0, 2**62)
        if not start <= numbers[2] <= end or start == end:
            raise ValueError("its epochs are others")
    except DAMAGES as error:
        raise damaged(saved.path, error) from None
    return numbers


def _start_of_schedule(plan: Plan, state: State, saved: Checkpoint) -> int:
    """Return how many epochs are before those that the schedule is for.

    A training that has come to its end may have more: a warm restart, as in Loshchilov, Hutter, SGDR:
    Stochastic Gradient Descent with Warm Restarts, ICLR 2017. What the optimizer and callbacks hold stays.
    """
    (start, end, done), epochs = _epochs_of(state, saved), plan.epochs
    if epochs == end:
        return start
    found = f"{saved.folder} has a training with epochs {end}"
    if epochs < end:
        raise ValueError(f"{found}, wanted {epochs}: resume it with the same settings")
    if state.progress["stopped"]:
        raise ValueError(f"{found} that a callback ended after {done}, wanted one at its end to add epochs")
    if done < end:
        raise ValueError(f"{found}, {done} of them done, wanted all done before there are {epochs}")
    return end


def agree(plan: Plan) -> None:
    """Begin with the first's parameters on all ranks.

    Raises
    ------
    ValueError if a rank has other settings, or other data.
    """
    ranks, device = plan.ranks, plan.network.device
    if ranks.size == 1:
        return
    first, *others = ranks.collect(plan.settings)
    for rank, settings in enumerate(others, 1):
        for name, value in settings.items():
            if value != first[name]:
                found = f"rank {rank} has {name} {value!r}"
                raise ValueError(f"{found}, wanted {first[name]!r} as rank 0 has")
    params = plan.network.params
    shared = ranks.share({name: device.get(array) for name, array in params.items()})
    for name, array in params.items():
        array[...] = device.put(shared[name])


def state_of(plan: Plan, place: Place) -> State:
    """Return all that another process needs to go on from a place."""
    get, optimizer = plan.network.device.get, plan.optimizer
    epochs = {"epochs": [place.before, plan.epochs]} if place.before else {}
    return State(
        settings=plan.settings | epochs,
        progress={
            "epoch": place.epoch,
            "step": place.step,
            "stopped": place.stopped,
            "order": place.order,
            "mean": [place.mean.sum, place.mean.weight],
            "seconds": place.seconds,
            "history": place.history.to_json(),
            "optimizer_steps": optimizer.steps,
            "learning_rate": optimizer.learning_rate,
            "dropout_rows": [layer.row for layer in plan.dropouts],
        },
        params={name: get(array) for name, array in plan.network.params.items()},
        slots={
            name: {slot: get(array) for slot, array in slots.items()}
            for name, slots in optimizer.state.items()
        },
        callbacks=[
            {name: value if isinstance(value, PLAIN) else get(value) for name, value in kept.items()}
            for kept in (callback.state() for callback in plan.lasting)
        ],
    )


def _take_up(state: State, plan: Plan, before: int) -> Place:
    """Give network and optimizer what they had, and return the place; the schedule began after `before`."""
    put, optimizer, progress = plan.network.device.put, plan.optimizer, state.progress
    for name, array in plan.network.params.items():
        array[...] = put(state.params[name])
    optimizer.state = {
        name: {slot: put(array) for slot, array in own.items()} for name, own in state.slots.items()
    }
    optimizer.steps, optimizer.learning_rate = progress["optimizer_steps"], progress["learning_rate"]
    for layer, row in zip(plan.dropouts, progress["dropout_rows"]):
        layer.row = row
    same = {name: progress[name] for name in ("order", "epoch", "step", "stopped", "seconds")}
    history = History.from_json(progress["history"])
    mean = Mean(*progress["mean"])
    return Place(mean=mean, history=history, kept=state.callbacks, before=before, **same)


def _check_arrays(state: State, plan: Plan) -> None:
    """Raise one of DAMAGES unless the arrays are those of the network and of its optimizer."""
    slots = plan.optimizer.slots
    if any(set(own) != set(slots) for own in state.slots.values()):
        raise ValueError("its slots are others")
    wanted = {name: (array.shape, array.dtype) for name, array in plan.network.params.items()}
    held = [state.params] + [{name: own[slot] for name, own in state.slots.items()} for slot in slots]
    for arrays in held if state.slots else held[:1]:  # before the first step there are no slots
        if {name: (array.shape, array.dtype) for name, array in arrays.items()} != wanted:
            raise ValueError("its arrays are not those of the network")
    for kept in state.callbacks:
        for name, array in kept.items():
            own_name = name.removeprefix(WEIGHTS)
            if own_name != name and (array.shape, array.dtype) != wanted[own_name]:
                raise ValueError("its arrays are not those of the network")


def _check_progress(progress: dict[str, Any], plan: Plan) -> None:
    """Raise one of DAMAGES unless the numbers are those of a place in the training."""
    for name in ("epoch", "step", "optimizer_steps"):
        checks.integer(name, progress[name], 0, sys.maxsize)
    for number in (*progress["mean"], progress["seconds"], progress["learning_rate"]):
        checks.number("a number", number, -np.inf, np.inf)
    for row in progress["dropout_rows"]:
        checks.integer("a dropout's row", row, 0, LEVELS)
    checks.boolean("stopped", progress["stopped"])
    np.random.default_rng().bit_generator.state = progress["order"]
    for record in progress["history"]:
        checks.integer("an epoch", record["epoch"], 1, sys.maxsize)
        checks.number("a loss", record["loss"], -np.inf, np.inf)
    if len(progress["mean"]) != 2:
        raise ValueError("its numbers are others")
    if progress["step"] > plan.steps or len(progress["dropout_rows"]) != len(plan.dropouts):
        raise ValueError("its place is not one of this training")


def _with_scaling(settings: dict[str, Any]) -> dict[str, Any]:
    """Return a checkpoint's settings; in those of earlier versions the scaling is beside the network."""
    match settings.get("network"):
        case [network, scaling]:
            return {**settings, "network": network, "scaling": scaling}
    return settings
