"""HTML representations of results, for notebooks."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from mullama._native import ChatCompletion, Completion, Placement

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mullama._native import DeviceShare, Plan, PlannedDevice

_GIB = 1 << 30
_MIB = 1 << 20


def html(result: Completion | Plan | Placement) -> str:
    """A result as HTML; all text from models and files is escaped."""
    if isinstance(result, Completion):
        return _completion(result)
    return _placement(result) if isinstance(result, Placement) else _plan(result)


def _completion(completion: Completion) -> str:
    parts = []
    if isinstance(completion, ChatCompletion):
        message = completion.message
        if message.reasoning:
            text = _text(message.reasoning)
            parts.append(f"<details><summary>Reasoning</summary>{text}</details>")
        parts += [
            f"<div><code>{escape(f'{call.function.name}({call.function.arguments})')}</code></div>"
            for call in message.tool_calls
        ]
    if completion.text:
        parts.insert(min(1, len(parts)), _text(completion.text))
    usage, rate = completion.usage, completion.timings.decode_tps
    facts = [completion.finish_reason, f"{usage.completion_tokens} tokens"]
    if rate:
        facts.append(f"{rate:.1f} tokens/s")
    return "".join(parts) + _caption(facts)


def _placement(placement: Placement) -> str:
    rows = [_row(share) for share in placement.devices]
    return _table(["Device", "Layers", "Weights", "KV cache", "Compute"], rows)


def _plan(plan: Plan) -> str:
    devices = [*plan.devices, plan.host]
    rows = [[*_row(device), _size(_left(device))] for device in devices]
    columns = ["Device", "Layers", "Weights", "KV cache", "Compute", "Left free"]
    facts = [
        "fits" if plan.fits else f"does not fit: {plan.refusal}",
        f"{plan.n_gpu_layers} of {plan.n_layers} layers on GPUs",
        f"context of {plan.context_size} tokens",
    ]
    if plan.predicted:
        facts.append(f"{plan.predicted.decode_tps:.1f} tokens/s predicted")
    return _table(columns, rows) + _caption(facts)


def _row(share: DeviceShare | PlannedDevice) -> list[str]:
    sizes = (share.weights, share.kv, share.compute)
    return [share.name, str(share.layers), *map(_size, sizes)]


def _left(device: PlannedDevice) -> int:
    return max(device.free - device.weights - device.kv - device.compute, 0)


def _size(size: int) -> str:
    return f"{size / _GIB:.2f} GiB" if size >= _GIB else f"{size / _MIB:.1f} MiB"


def _text(text: str) -> str:
    return f'<div style="white-space: pre-wrap">{escape(text)}</div>'


def _caption(facts: Iterable[str]) -> str:
    return f'<div style="opacity: 0.6; font-size: smaller">{escape(" · ".join(facts))}</div>'


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
