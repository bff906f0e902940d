"""The compiled loops behind Propagation: events into sums, sums into messages, messages into item vectors.

One call takes a whole batch from its events to the vectors of the items that it touches; the letters are those of
`propagation`. A kernel gets all arrays as one `Sums`, a struct that numba passes as a single pointer: to pass its
arrays one by one would cost as much as an event.
"""

from __future__ import annotations

import numpy as np
from numba import njit, types
from numba.experimental import structref

from graphrec.graph.block_pool import find
from graphrec.graph.decay import contributions
from graphrec.graph.edge_updates import add_edge, first_bad, remove
from graphrec.graph.prefetch import prefetch, prefetch_row

# A sum whose total weight fell below this share of its largest since it was last formed has lost too many bits.
CANCELLATION = 1.0 / 64.0
# Weight that has faded below this is none. Further down a float32 runs out of exponents, and what is left of a sum
# depends on how its log was cut into batches.
FADED = 2.0**-100
_AHEAD = 8  # rows between the one that is asked for and the one that is worked on
_LINE = 16  # neighbours in a cache line
_ROW = 128  # neighbours of a row that are asked for: the processor itself expects the rest
_MANY = 0.1  # share of the items from which on it pays to bring the touched ones into order

FIELDS = (
    "rows",  # the graph's GraphRows
    # Of each user:
    "user_weight",  # c_u, float64
    "user_peak",  # the largest c_u since s1_u was formed, float64
    "sum1",  # s1_u, float32 (h,)
    "hidden",  # h1_u, float32 (h,)
    "sent",  # p_u, the message as its items have it, float32 (d,)
    "residual",  # |m_u - p_u|, float32; inf: s1_u is to be formed anew
    "user_waits",  # whether it is in `senders`, bool
    "senders",  # users whose sums have changed in this batch, int32
    # Of each item:
    "item_weight",  # c_i, float64
    "item_peak",  # the largest c_i since s2_i was formed, float64
    "message1",  # A1 x_i, float32 (h,)
    "root2",  # B2s h1_i + b2, float32 (d,)
    "sum2",  # s2_i, float32 (d,)
    "vector",  # h2_i, float32 (d,)
    "touched",  # items whose vector may have moved in this batch, int32
    "end",  # of its part of this batch's deliveries, int32; -1 = it is not in `touched`
    # Of the model:
    "bias1",  # a1, float32 (h,)
    "neighbour2",  # B2n transposed, float32 (h, d)
    "counts",  # [senders, touched], int64
)


@structref.register
class _SumsType(types.StructRef):  # type: ignore[misc]
    def preprocess_fields(self, fields):  # type: ignore[no-untyped-def]
        return tuple((name, types.unliteral(kind)) for name, kind in fields)


class Sums(structref.StructRefProxy):  # type: ignore[misc]
    """Every array of a Propagation and of its graph, for kernels; valid until one of them is replaced."""

    def __new__(cls, **arrays: object) -> Sums:
        """Bind all arrays, by the names of `FIELDS`; further ones are left out."""
        return structref.StructRefProxy.__new__(cls, *(arrays[name] for name in FIELDS))  # type: ignore[no-any-return]


structref.define_boxing(_SumsType, Sums)
structref.define_constructor(Sums, _SumsType, list(FIELDS))


@njit(cache=True, nogil=True)
def take_in(sums, users, items, weights, timestamps, event, half_life, reference, n_users, n_items, epsilon):  # type: ignore[no-untyped-def]
    """Apply the events from `event` on, whose fields are as in InteractionGraph.add, and settle what they touch.

    Returns how many events are done and the touched items: all; those before the first that needs a larger pool (then
    nothing is settled yet); or -1, nothing being changed, when a field is out of range or weights must be rescaled.
    """
    nothing = np.empty(0, np.int32)
    if event == 0 and first_bad(users, items, weights, timestamps, n_users, n_items)[0] >= 0:
        return -1, nothing
    decayed, new_reference = contributions(weights, timestamps, half_life, reference, True)
    if new_reference != reference:
        return -1, nothing
    for position in range(event, users.size):
        if position + 2 * _AHEAD < users.size:
            _expect(sums, users[position + 2 * _AHEAD], users[position + _AHEAD], items[position + _AHEAD])
        user, item = users[position], items[position]
        fits, delta = add_edge(sums.rows, user, item, decayed[position], timestamps[position])
        if not fits:
            return position, nothing
        _count(sums, user, item, delta)
    return users.size, _settle(sums, epsilon)


@njit(cache=True, nogil=True)
def _expect(sums, later_user, user, item):  # type: ignore[no-untyped-def]
    """Ask for what an event will need; where the row of a user starts must have come in before it is asked for."""
    rows = sums.rows.users
    prefetch(rows.start, later_user)
    prefetch(rows.length, later_user)
    for step in range(0, min(rows.length[user], _ROW), _LINE):
        prefetch(rows.neighbours, rows.start[user] + step)
    prefetch_row(sums.sum1, user)
    prefetch_row(sums.sent, user)
    prefetch_row(sums.message1, item)
    prefetch_row(sums.sum2, item)


@njit(cache=True, nogil=True)
def take_out(sums, users, items, epsilon):  # type: ignore[no-untyped-def]
    """Remove edges, and settle what they touched; returns the touched items."""
    for position in range(users.size):
        user, item = users[position], items[position]
        _count(sums, user, item, -np.float32(remove(sums.rows, user, item)))
    return _settle(sums, epsilon)


@njit(cache=True, nogil=True)
def send(sums, users, epsilon):  # type: ignore[no-untyped-def]
    """Have users send what they hold back beyond `epsilon`; returns the touched items."""
    for user in users:
        _wait(user, sums.user_waits, sums.senders, sums.counts)
    return _settle(sums, epsilon)


@njit(cache=True, nogil=True)
def form_anew(sums, users, items, epsilon):  # type: ignore[no-untyped-def]
    """Form everything of these nodes anew, and of the users' items, from the rows; returns the touched items.

    Neither what is kept of them nor what they have sent is believed, be it no number: they are made to look as if all
    their weight had been taken away.
    """
    rows = sums.rows
    for user in users:
        _wait(user, sums.user_waits, sums.senders, sums.counts)
        sums.user_weight[user], sums.user_peak[user] = 0.0, 1.0
        sums.sent[user] = 0.0
        sums.residual[user] = 0.0
        start = rows.users.start[user]
        for edge in range(start, start + rows.users.length[user]):
            _mistrust(sums, rows.users.neighbours[edge])
    for item in items:
        _mistrust(sums, item)
    return _settle(sums, epsilon)


@njit(cache=True, nogil=True)
def _mistrust(sums, item):  # type: ignore[no-untyped-def]
    _touch(item, sums.touched, sums.end, sums.counts)
    sums.item_weight[item], sums.item_peak[item] = 0.0, 1.0


@njit(cache=True, nogil=True)
def sum_users(sums, n_users):  # type: ignore[no-untyped-def]
    """Form c_u and s1_u of every user anew."""
    rows, message1, weight, peak, sum1 = sums.rows, sums.message1, sums.user_weight, sums.user_peak, sums.sum1
    for user in range(n_users):
        _sum_user(rows, user, message1, weight, peak, sum1)


@njit(cache=True, nogil=True)
def sum_items(sums, n_users, n_items):  # type: ignore[no-untyped-def]
    """Form c_i and s2_i of every item anew, walking the rows of the users."""
    rows, sent, weight, sum2 = sums.rows, sums.sent, sums.item_weight, sums.sum2
    weight[:] = 0.0
    sum2[:] = 0.0
    for user in range(n_users):
        start = rows.users.start[user]
        end = start + rows.users.length[user]
        for edge in range(start, end):
            if edge + _AHEAD < end:
                prefetch_row(sum2, rows.users.neighbours[edge + _AHEAD])
            if rows.weights[edge] > 0:
                item = rows.users.neighbours[edge]
                weight[item] += rows.weights[edge]
                _add(sum2, item, rows.weights[edge], sent, user)
    sums.item_peak[:n_items] = weight[:n_items]


@njit(cache=True, nogil=True)
def _add(sums, target, weight, vectors, source):  # type: ignore[no-untyped-def]
    """`sums[target] += weight * vectors[source]`."""
    for k in range(sums.shape[1]):
        sums[target, k] += weight * vectors[source, k]


@njit(cache=True, nogil=True)
def _wait(user, user_waits, senders, counts):  # type: ignore[no-untyped-def]
    if not user_waits[user]:
        user_waits[user] = True
        senders[counts[0]] = user
        counts[0] += 1


@njit(cache=True, nogil=True)
def _touch(item, touched, end, counts):  # type: ignore[no-untyped-def]
    if end[item] < 0:
        end[item] = 0
        touched[counts[1]] = item
        counts[1] += 1


@njit(cache=True, nogil=True)
def _count(sums, user, item, delta):  # type: ignore[no-untyped-def]
    """Add a change of weight to the sums of both nodes, the message being the one that the item knows."""
    _touch(item, sums.touched, sums.end, sums.counts)
    if delta == 0:
        return
    _wait(user, sums.user_waits, sums.senders, sums.counts)
    user_weight, item_weight = sums.user_weight, sums.item_weight
    user_weight[user] += delta
    item_weight[item] += delta
    sums.user_peak[user] = max(sums.user_peak[user], user_weight[user])
    sums.item_peak[item] = max(sums.item_peak[item], item_weight[item])
    _add(sums.sum1, user, delta, sums.message1, item)
    _add(sums.sum2, item, delta, sums.sent, user)


@njit(cache=True, nogil=True)
def _settle(sums, epsilon):  # type: ignore[no-untyped-def]
    """Bring messages and vectors up to the sums; returns the touched items, in no order."""
    moved = np.empty((sums.counts[0], sums.sent.shape[1]), np.float32)
    n_senders = _form_messages(sums, moved, epsilon)
    sources, weights = _deliveries(sums, n_senders)
    return _form_vectors(sums, moved, sources, weights)


@njit(cache=True, nogil=True)
def _form_messages(sums, moved, epsilon):  # type: ignore[no-untyped-def]
    """Of the waiting users, keep in `senders` those whose message is off by more than epsilon; how many.

    `moved[n]` is what the n-th of them has to send; from here on it counts as sent.
    """
    rows, senders, user_waits, residual = sums.rows, sums.senders, sums.user_waits, sums.residual
    weight, peak, sum1, hidden, sent = sums.user_weight, sums.user_peak, sums.sum1, sums.hidden, sums.sent
    message1, bias1, neighbour2 = sums.message1, sums.bias1, sums.neighbour2
    kept = 0
    for position in range(sums.counts[0]):
        user = senders[position]
        user_waits[user] = False
        if np.isinf(residual[user]) or weight[user] < CANCELLATION * peak[user]:
            _sum_user(rows, user, message1, weight, peak, sum1)
        inverse = np.float32(1.0 / weight[user]) if weight[user] > FADED else np.float32(0)
        row = moved[kept]
        row[:] = 0
        for k in range(bias1.size):
            value = max(sum1[user, k] * inverse + bias1[k], np.float32(0))
            hidden[user, k] = value
            if value > 0:
                for d in range(row.size):
                    row[d] += value * neighbour2[k, d]
        squares = 0.0
        for d in range(row.size):
            difference = row[d] - sent[user, d]
            squares += difference * difference
        residual[user] = np.sqrt(squares)
        if residual[user] > epsilon:
            for d in range(row.size):
                message = row[d]
                row[d] = message - sent[user, d]
                sent[user, d] = message
            residual[user] = 0
            senders[kept] = user
            kept += 1
    sums.counts[0] = 0
    return kept


@njit(cache=True, nogil=True)
def _deliveries(sums, n_senders):  # type: ignore[no-untyped-def]
    """Which sender delivers to the touched items, and with what weight, item by item; `end` says where each one ends.

    In this order a sum is read and written once, however many users send to it, and what they send stays in the cache.
    """
    rows, senders = sums.rows, sums.senders
    touched, end, counts = sums.touched, sums.end, sums.counts
    for position in range(n_senders):
        start = rows.users.start[senders[position]]
        for edge in range(start, start + rows.users.length[senders[position]]):
            if rows.weights[edge] > 0:
                item = rows.users.neighbours[edge]
                _touch(item, touched, end, counts)
                end[item] += 1
    if counts[1] > end.size * _MANY:
        _by_number(touched[: counts[1]], end)
    total = 0
    for item in touched[: counts[1]]:
        total += end[item]
        end[item] = total - end[item]  # where it begins, until it is filled
    sources, weights = np.empty(total, np.int32), np.empty(total, np.float32)
    for position in range(n_senders):
        start = rows.users.start[senders[position]]
        for edge in range(start, start + rows.users.length[senders[position]]):
            if rows.weights[edge] > 0:
                item = rows.users.neighbours[edge]
                sources[end[item]] = position
                weights[end[item]] = rows.weights[edge]
                end[item] += 1
    return sources, weights


@njit(cache=True, nogil=True)
def _by_number(touched, end):  # type: ignore[no-untyped-def]
    """Order the touched items by their numbers: memory is read ahead where it is read in order."""
    item = 0
    for position in range(touched.size):
        while end[item] < 0:
            item += 1
        touched[position] = item
        item += 1


@njit(cache=True, nogil=True)
def _form_vectors(sums, moved, sources, weights):  # type: ignore[no-untyped-def]
    """Deliver to the touched items what was `moved`, form their h2_i and return them."""
    rows, sent, end = sums.rows, sums.sent, sums.end
    weight, peak, sum2, root2, vector = sums.item_weight, sums.item_peak, sums.sum2, sums.root2, sums.vector
    numbers = sums.touched[: sums.counts[1]].copy()
    delivery = 0
    for position in range(numbers.size):
        if position + _AHEAD < numbers.size:
            later = numbers[position + _AHEAD]
            prefetch_row(sum2, later)
            prefetch_row(root2, later)
            prefetch_row(vector, later)
        item = numbers[position]
        while delivery < end[item]:
            _add(sum2, item, weights[delivery], moved, sources[delivery])
            delivery += 1
        end[item] = -1
        if weight[item] < CANCELLATION * peak[item]:
            _sum_item(rows, item, sent, weight, peak, sum2)
        inverse = np.float32(1.0 / weight[item]) if weight[item] > FADED else np.float32(0)
        for k in range(vector.shape[1]):
            vector[item, k] = sum2[item, k] * inverse + root2[item, k]
    sums.counts[1] = 0
    return numbers


@njit(cache=True, nogil=True)
def _sum_user(rows, user, message1, weight, peak, sum1):  # type: ignore[no-untyped-def]
    """c_u and s1_u of one user, from its row."""
    weight[user] = 0.0
    sum1[user] = 0.0
    start = rows.users.start[user]
    end = start + rows.users.length[user]
    for edge in range(start, end):
        if edge + _AHEAD < end:
            prefetch_row(message1, rows.users.neighbours[edge + _AHEAD])
        if rows.weights[edge] > 0:
            weight[user] += rows.weights[edge]
            _add(sum1, user, rows.weights[edge], message1, rows.users.neighbours[edge])
    peak[user] = weight[user]


@njit(cache=True, nogil=True)
def _sum_item(rows, item, sent, weight, peak, sum2):  # type: ignore[no-untyped-def]
    """c_i and s2_i of one item; the weights are found in the rows of its users."""
    weight[item] = 0.0
    sum2[item] = 0.0
    start = rows.items.start[item]
    for edge in range(start, start + rows.items.length[item]):
        user = rows.items.neighbours[edge]
        w = rows.weights[find(rows.users, user, item)]
        if w > 0:
            weight[item] += w
            _add(sum2, item, w, sent, user)
    peak[item] = weight[item]
