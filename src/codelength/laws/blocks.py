"""Blocks of items on one stack (docs/format.md, "Blocks").

Items are laid down from the last to the first, in groups that advance together, so that a reader gets them in order. A
law with latents starts with a group of one item whose latents are chosen rather than popped; later groups grow as far
as the stack can pay.
"""

from __future__ import annotations

import numpy as np

from codelength.coding.stack import Stack
from codelength.errors import NotRepresentable, ProgramError, StackExhausted
from codelength.laws.contract import Law

#: Bytes that decoding a group may need.
GROUP_MEMORY = 192 << 20


def encode(
    law: Law, latents: bool, items: np.ndarray, lanes: int, limit: int, most: int
) -> tuple[list[int], np.ndarray]:
    """Group sizes in decoding order, and the words of the stack (uint32).

    latents: whether the law has any. limit: how many items (n, *shape) a group may have. most: how many fit into
    memory; the first group may have to be larger than is asked for.

    Raises NotRepresentable if there are items that the law refuses, and names all that it meets, even those whose
    latents leave their range by chance: what is left is coded with the latents that were drawn for it. It names no
    items where a block cannot go on, whatever is left out.
    """
    most = max(limit, most)
    first = 1 if latents else limit
    while True:
        try:
            return encode_from(law, latents, items, lanes, limit, min(first, most))
        except StackExhausted:
            # The first group holds less than one item's latents take back. A larger one holds more; one of all
            # items pops nothing at all.
            if first >= len(items):
                raise
            if first >= most:
                raise NotRepresentable(
                    f"{most} items, as many as fit into memory, do not pay for the latents of the next"
                ) from None
            first *= 4


def encode_from(
    law: Law, latents: bool, items: np.ndarray, lanes: int, limit: int, first: int
) -> tuple[list[int], np.ndarray]:
    """The same with ``first`` items in the group that is laid down first. Raises StackExhausted where those that come
    after it ask for more bits than it holds."""
    context = {"shape": items.shape[1:]}
    stack, left = Stack(lanes), np.arange(len(items))
    sizes: list[int] = []
    refused: list[NotRepresentable] = []
    need = 1.0  # words that an item has been seen to take back at least, for its latents
    while len(left):
        start = latents and not sizes
        want = min(len(left), first if start else limit)
        words, before = int(stack.count.sum()), need
        if latents and sizes:
            want = min(want, max(1, int(0.9 * words / need)))
        while True:
            attempt, group = stack.copy(), left[-want:]
            try:
                law.push(attempt, items[group], context, start)
            except StackExhausted:
                if want > 1 and not start:
                    need = max(need, words / want)
                    want //= 2
                    continue
                if not refused:
                    raise
                raise NotRepresentable.joined(refused) from None  # without them it may well be enough
            except NotRepresentable as error:
                if not error.items:
                    raise
                # Go on as if they had not been there: so all of the block are named at once, and what is left is
                # coded with these very latents when it comes again.
                refused.append(error.placed(group))
                left = np.delete(left, len(left) - want + np.array(error.items))
                need = before
            else:
                stack, left = attempt, left[:-want]
                sizes.append(want)
            break
    if refused:
        raise NotRepresentable.joined(refused)
    return sizes[::-1], stack.to_words()


def decode(
    law: Law, latents: bool, words: np.ndarray, sizes: list[int], shape: tuple[int, ...], lanes: int
) -> np.ndarray:
    """The items (n, *shape) of a block. Raises StackExhausted or ProgramError where the words are not those of a
    block."""
    try:
        stack = Stack.from_words([np.asarray(words, np.uint32)], lanes)
    except ValueError as error:
        raise ProgramError(f"the words of a block are not a stack: {error}") from None
    context = {"shape": shape}
    parts = [np.zeros((0, *shape), np.int32)]
    for k, size in enumerate(sizes):
        if size < 1:
            raise ProgramError(f"a group of {size} items, where at least one was expected")
        start = latents and k == len(sizes) - 1
        try:
            parts.append(law.pop(stack, size, context, start))
        except NotRepresentable as error:
            raise ProgramError(f"the words of a block contradict its model: {error}") from None
    if not stack.is_empty():
        raise ProgramError("bits are left over at the end of a block")
    return np.concatenate(parts)
