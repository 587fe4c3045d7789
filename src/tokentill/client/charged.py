"""Charged: which arguments of a decorated function say who is charged, and for how much.

    @till.charged("generate_goal", organization="account", user=lambda account, request: request.user)
    async def generate(account: str, request: Request) -> Goal: ...

A text names a parameter of the function; a callable is called with the function's own arguments. A name
that the function does not have is a `TypeError` when it is decorated, not when it is called.

Requirement ids: R-LED-3.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

Argument = str | Callable[..., Any]
"""The name of a parameter, or what computes the value from the same arguments."""

Terms = dict[str, Any]


def reader(
    function: Callable[..., Any], arguments: Mapping[str, Argument | None]
) -> Callable[[tuple[Any, ...], dict[str, Any]], Terms]:
    """What reads the values of `arguments` off a call of `function`; None is left out."""
    signature = inspect.signature(function)
    for name, argument in arguments.items():
        if isinstance(argument, str) and argument not in signature.parameters:
            known = ", ".join(signature.parameters)
            raise TypeError(
                f"{name}={argument!r} names no parameter of {function.__qualname__}, which has {known or 'none'}"
            )

    def read(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Terms:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return {
            name: bound.arguments[argument] if isinstance(argument, str) else argument(*args, **kwargs)
            for name, argument in arguments.items()
            if argument is not None
        }

    return read
