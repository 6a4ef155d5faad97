"""A selector for kafka-python's network thread, which asks for sockets that are not registered at every single read."""

from __future__ import annotations

import selectors
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    class _Selector(selectors.BaseSelector):
        """The platform's best one, with the signatures that all of them share."""

        register: Callable[..., selectors.SelectorKey]
        modify: Callable[..., selectors.SelectorKey]
        unregister: Callable[..., selectors.SelectorKey]

        def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]: ...
        def get_map(self) -> Any: ...  # noqa: ANN401 - not looked at
else:
    _Selector = selectors.DefaultSelector


class QuickSelector(_Selector):
    """The platform's selector, with a look-up of its own.

    The standard one words a message with the socket's repr, four system calls' worth, for each file that is not there.
    """

    def __init__(self) -> None:
        super().__init__()
        self._keys: dict[object, selectors.SelectorKey] = {}

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:  # noqa: ANN401 - as the base
        """Register a file."""
        key = self._keys[fileobj] = super().register(fileobj, events, data)
        return key

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:  # noqa: ANN401 - as the base
        """Change what a file is watched for."""
        key = self._keys[fileobj] = super().modify(fileobj, events, data)
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:  # noqa: ANN401 - as the base
        """Forget a file."""
        self._keys.pop(fileobj, None)
        return super().unregister(fileobj)

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:  # noqa: ANN401 - as the base
        """Return a file's key; KeyError, without a message, where it is not registered."""
        return self._keys[fileobj]
