"""The compiled loop of adaptive coding (docs/format.md, "Adaptive law"): pixel by pixel, decision by decision.

One pass does the same whether it encodes or decodes, but for where the bits come from: an encoder looks them up in the
images and notes each decision, a decoder pops them off a stack. All arithmetic is on integers; the bounds that keep it
within their types are told where they are needed, and proved for all programs by the ranges in ``program``.

M is the largest symbol. Values v, predictions and errors: |.| <= M < 2^16. Q6 means units of 2^-6.
"""

from __future__ import annotations

import numpy as np

from codelength.coding.compiled import inlined, kernel
from codelength.coding.stack import peek_one, pop_one

#: Pads of the planes that hold pixels: rows above, columns on either side.
ABOVE, ASIDE = 3, 4
#: Nodes of a binary tree: lines of sixteen slots.
LINES, SLOTS = 35, 16
#: Kinds of decisions, see ``kind`` below.
KINDS = 16
TEXTURES = 64
WEIGHT_MAX = (1 << 19) - 1
_ONE = 1 << 30
_TOP = 1 << 22

_MULTIPLY = np.uint64(0x9E3779B97F4A7C15)
_OF_CONTEXT = np.uint64(0xD1B54A32D192ED03)
_OF_CHANNEL = np.uint64(0x8CB92BA72F3D8DD7)
_OF_CLASS = np.uint64(0xABC98388FB8FAC03)
_OF_LINE = np.uint64(0x8BB84B93962EACC9)
_HALF = np.uint64(32)
_SLOT_BITS = np.uint64(4)
_NEXT = np.uint64(1)


@inlined
def clip(value, low, high):
    return low if value < low else (high if value > high else value)


@inlined
def class_of(magnitude, classes):
    """0, 1, then about twice the logarithm to base 2, for a magnitude >= 0."""
    if magnitude < 4096:
        return np.int64(classes[np.uint64(magnitude)])
    return np.int64(classes[np.uint64(min(magnitude >> 6, 4095))]) + 12


@inlined
def signed_class(value, classes):
    return class_of(value, classes) if value >= 0 else -class_of(-value, classes)


@inlined
def cumulative(v, mean, inverse, table):
    """The logistic distribution's mass below the symbol v, in units of 2^-30. mean: Q6; inverse: 2^23 ln 4 / Q6 of the
    mean error, so |.| < 2^24 and the product stays below 2^47."""
    z = (((v << 6) - 32 - mean) * inverse) >> 16
    return np.int64(table[np.uint64(clip(z, -2048, 2048) + 2048)])


@inlined
def mixed(inputs, weights, s, row, count):
    """The logit that set s gives in this row: |input| <= 3071, |weight| < 2^19, so products are below 2^31. The 48
    that ``double`` adds are below 1024: the sizes of all 103 have a sum below 2^18, the shifted products below 2^31."""
    total = np.int32(0)
    for i in range(count):
        j = np.uint64(i)
        product = np.int32(np.int32(inputs[j]) * np.int32(weights[s, row, j]))
        total = np.int32(total + np.int32(product >> 6))
    return clip(np.int64(total) >> 10, -3071, 3071)


@inlined
def taught(inputs, weights, s, row, count, step):
    """Move the weights against the error: step is the error times the rate in units of 2^-16, at most 2^18."""
    factor = np.int32(step)
    for i in range(count):
        j = np.uint64(i)
        move = np.int32(np.int32(np.int32(inputs[j]) * factor) + np.int32(32768)) >> 16
        moved = np.int32(weights[s, row, j] + np.int32(move))
        weights[s, row, j] = min(max(moved, np.int32(-WEIGHT_MAX)), np.int32(WEIGHT_MAX))


@inlined
def scaled(value, lift):
    """value 2^lift, at most 1023 in size."""
    if lift >= 0:
        return clip(value << lift, -1023, 1023)
    return clip((value + (1 << (-lift - 1))) >> -lift, -1023, 1023)


@inlined
def correlate(products, k, system, i, xs, padded, forget, drop):
    """Add a sample to row i of a system's matrix, and let it forget. Where 1023^2 is added forever, the entry ends at
    less than 1023^2 2^11 + 2^11 < 2^31; systems that forget more slowly drop as many bits."""
    factor = np.int32(xs[np.uint64(i)])
    shift, before, one, rest = np.int32(forget), np.int32(forget - 1), np.int32(1), np.int32(drop)
    round_up = np.int32(1 << drop >> 1)
    for j in range(padded):
        jj = np.uint64(j)
        r = products[k, system, i, jj]
        product = np.int32(np.int32(np.int32(factor * xs[jj]) + round_up) >> rest)
        fade = np.int32(np.int32(r >> shift) + np.int32(np.int32(r >> before) & one))
        products[k, system, i, jj] = np.int32(np.int32(r + product) - fade)


@inlined
def against(products, weights, k, system, i, padded):
    """Row i of a system's matrix times its weights: below 2^31 2^19 32 = 2^55."""
    total = np.int64(0)
    for j in range(padded):
        jj = np.uint64(j)
        total += np.int64(products[k, system, i, jj]) * np.int64(weights[k, system, jj])
    return total


@kernel
def code(
    decoding, images, item, row, settings, program, tables, state, planes, work, decisions, ends, limit,
    stack_state, words, count
):  # fmt: skip
    """Code rows of images (n, H, W, C), from row ``row`` of image ``item`` on, until there are ``limit`` decisions at
    the end of a row. Returns the next image and row, and whether the stack held them all.

    decisions: encoding only, uint32: twice the probability of a one, plus the bit. ends: the number of decisions before
    the end of each sample, (n H W C), or empty. planes: (2, C, H + 3, W + 8), this image and the one before it.
    """
    p, tb, st, wk = program, tables, state, work
    n, height, width, channels = images.shape
    top = settings.top
    value_tree = settings.value_tree == 1
    value_bits = settings.value_bits
    classes_at = settings.classes_at
    most_class = settings.most_class
    least_error = settings.least_error
    scale_rate = settings.scale_rate
    bias_rate = settings.bias_rate
    whiten = settings.whiten
    whiten_from = settings.whiten_from
    regular = settings.regular
    gradient = settings.gradient
    solve = settings.solve
    weigh = settings.weigh
    counter_limit = settings.counter_limit
    rate_first = settings.rate_first
    rate_last = settings.rate_last
    rate_final = settings.rate_final
    maps = settings.maps == 1
    double = settings.double == 1
    line_bits = settings.line_bits
    sets = settings.sets
    coarse_shift = settings.coarse_shift
    uses_far = settings.uses_far == 1
    predictors = p.taps.shape[0]
    contexts = p.parts.shape[0]
    terms = p.terms.shape[0]
    guesses = predictors + 2
    inputs = wk.inputs.shape[0]  # with zeros behind
    line_shift = np.uint64(64 - line_bits)
    half = top >> 1
    f, t, near = wk.features, wk.terms, wk.near
    mu, inv, sidx = wk.mean, wk.inverse, wk.scale_index
    low_mass, high_mass, mass, mass2 = wk.low_mass, wk.high_mass, wk.mass, wk.mass2
    er, es = st.errors, st.signed
    while item < n:
        now = (st.counts[0] & 1) if row == 0 else 1 - (st.counts[0] & 1)
        if row == 0:
            st.counts[0] += 1
        before = 1 - now
        while row < height:
            ry = row + ABOVE
            e0, e1, e2 = st.counts[1] % 3, (st.counts[1] + 2) % 3, (st.counts[1] + 1) % 3
            s0, s1 = st.counts[1] & 1, 1 - (st.counts[1] & 1)
            st.counts[1] += 1
            for c in range(channels):
                if row == 1:
                    for above in range(ABOVE):
                        for px in range(width + 2 * ASIDE):
                            planes[now, c, above, px] = planes[now, c, ABOVE, px]
                for i in range(ASIDE):
                    planes[now, c, ry, i] = (
                        planes[now, c, ry - 1, ASIDE] if row > 0 else planes[before, c, ABOVE, ASIDE]
                    )
            for xp in range(width):
                px = xp + ASIDE
                for c in range(channels):
                    if row == 0:
                        first = planes[now, c, ry, px - 1]
                        for above in range(ABOVE):
                            for i in range(px - ASIDE, px + ASIDE + 1):
                                planes[now, c, above, i] = first
                    here = planes[now, c]
                    r0, r1, r2 = here[ry], here[ry - 1], here[ry - 2]
                    w, north, nw, ne = r0[px - 1], r1[px], r1[px - 1], r1[px + 1]
                    ww, north2, nne = r0[px - 2], r2[px], r2[px + 1]
                    near[0], near[1], near[2], near[3], near[4], near[5] = w, north, nw, ne, ww, north2
                    near[6], near[7], near[8], near[9] = r1[px - 2], r1[px + 2], r2[px - 1], nne
                    near[10], near[11] = r0[px - 3], here[ry - 3, px]

                    # ------------------------------------------------------------------------- linear predictions
                    dh = abs(w - ww) + abs(north - nw) + abs(north - ne)
                    dv = abs(w - nw) + abs(north - north2) + abs(ne - nne)
                    slope = 0 if dh + dv < gradient else (1 if dh > 2 * dv else (2 if dv > 2 * dh else 3))
                    base = (w + north) >> 1
                    for k in range(predictors):
                        system = c * 4 + (slope if p.split[k] else 0)
                        m = p.tap_counts[k, c]
                        total = 0
                        for i in range(m):
                            d = p.taps[k, c, i, 0]
                            y, x = p.taps[k, c, i, 1], p.taps[k, c, i, 2]
                            if p.taps[k, c, i, 3] == 0:
                                if d == c:
                                    v = planes[now, d, ry + y, px + x] - base
                                else:
                                    v = planes[now, d, ry + y, px + x] - (
                                        (np.int64(planes[now, d, ry, px - 1]) + planes[now, d, ry - 1, px]) >> 1
                                    )
                            else:
                                yy = clip(ry + y, ABOVE, height - 1 + ABOVE)
                                xx = clip(px + x, ASIDE, width - 1 + ASIDE)
                                v = planes[before, d, yy, xx] - (
                                    (
                                        np.int64(planes[before, d, ry, max(px - 1, ASIDE)])
                                        + planes[before, d, max(ry - 1, ABOVE), px]
                                    )
                                    >> 1
                                )
                            wk.seen[k, i] = v
                            total += v * st.weights[k, system, i]  # below 2^17 * 2^19 * 32
                        mu[k] = clip((base << 6) + (total >> 10), 0, top << 6)

                    # ------------------------------------------------------------------------- activity and blend
                    q = predictors  # the blend's errors tell how much is going on
                    errors = er[q, c]
                    x0, x1, x2 = errors[e0], errors[e1], errors[e2]
                    active = 2 * (x0[px - 1] + x1[px]) + x1[px - 1] + x1[px + 1] + x0[px - 2] + x2[px]
                    if c == 1:
                        active = (active + 6 * er[q, 0, e0, px]) >> 1
                    elif c > 1:
                        active = (active + 3 * (er[q, c - 1, e0, px] + er[q, c - 2, e0, px])) >> 1
                    active >>= 5  # the mean error, in units of 2^-4
                    aq = class_of(active, tb.classes)
                    blend_weight = 0
                    blend = 0
                    for k in range(predictors):
                        errors = er[k, c]
                        x0, x1, x2 = errors[e0], errors[e1], errors[e2]
                        recent = x0[px - 1] + x1[px] + x1[px - 1] + x1[px + 1] + ((x0[px - 2] + x2[px]) >> 1)
                        recent >>= 2
                        # Below 2^23, whose square is below 2^46.
                        weight = (np.int64(1) << 36) // (recent * recent + 64) + 1
                        if c > 0:
                            recent = (recent + er[k, c - 1, e0, px]) >> 1
                        sidx[k] = class_of(recent >> 2, tb.classes)
                        blend_weight += weight
                        blend += (weight >> 6) * mu[k]
                    mu[q] = clip(blend // ((blend_weight >> 6) + 1), 0, top << 6)
                    sidx[q] = sidx[q + 1] = aq
                    whole = (mu[q] + 32) >> 6
                    texture = 0
                    for i in range(6):
                        if near[i] > whole:
                            texture |= 1 << i
                    biased = texture | ((min(aq, 31) >> 2) << 6)
                    mu[q + 1] = clip(mu[q] + (st.bias[c, biased] >> 8), 0, top << 6)
                    guess = (mu[q + 1] + 32) >> 6
                    for k in range(guesses):
                        inv[k] = np.int64(11626610) // ((st.scales[k, c, sidx[k]] >> 10) + least_error)
                        low_mass[k] = 0
                        high_mass[k] = _ONE

                    # ------------------------------------------------------------------------- features of the context
                    for i in range(6):
                        f[1 + i] = near[i]
                    f[7] = nne
                    f[8] = clip(w + north - nw, 0, top)
                    f[9] = clip(north + ne - nne, 0, top)
                    f[10] = clip(w + ne - north, 0, top)
                    f[11] = clip(2 * w - ww, 0, top)
                    f[12] = clip(2 * north - north2, 0, top)
                    f[13] = clip(w + north - nw, min(w, north), max(w, north))
                    f[14] = (w + north + 1) >> 1
                    f[15] = (w + ne + 1) >> 1
                    f[16] = guess
                    f[17] = aq
                    f[18] = es[c, s0, px - 1]
                    f[19] = es[c, s1, px]
                    f[20] = c
                    f[21] = xp
                    f[22] = row
                    if c > 0:
                        beside = planes[now, c - 1]
                        u, uw = beside[ry, px], beside[ry, px - 1]
                        un, unw = beside[ry - 1, px], beside[ry - 1, px - 1]
                        f[23] = u
                        f[24] = es[c - 1, s0, px]
                        f[25] = planes[now, c - 2, ry, px] if c > 1 else 0
                        f[26] = es[c - 2, s0, px] if c > 1 else 0
                        f[42] = clip(w + u - uw, 0, top)
                        f[43] = clip(north + u - un, 0, top)
                        f[44] = clip(f[8] + u - clip(uw + un - unw, 0, top), 0, top)
                    else:
                        f[23] = 0
                        f[24] = 0
                        f[25] = 0
                        f[26] = 0
                        f[42] = f[8]
                        f[43] = f[13]
                        f[44] = f[14]
                    f[27] = planes[before, c, ry, px]
                    f[28] = planes[before, c, ry, min(px + 1, width - 1 + ASIDE)]
                    for k in range(min(predictors, 3)):
                        f[29 + k] = (mu[k] + 32) >> 6
                    f[37] = (mu[q + 1] + 32) & 63
                    f[39] = class_of(abs(w - nw) + abs(north - ne) + abs(ww - w), tb.classes)
                    f[40] = class_of(abs(north - north2) + abs(w - nw) + abs(ne - nne), tb.classes)
                    bits, coarse = 0, 0
                    for i in range(6):
                        if near[i] > half:
                            bits |= 1 << i
                        coarse |= (near[i] >> coarse_shift) << (2 * i)
                    f[32] = bits
                    f[36] = coarse
                    if uses_far:
                        for i in range(6, 12):
                            if near[i] > half:
                                bits |= 1 << i
                        for i in range(6, 10):
                            coarse |= (near[i] >> coarse_shift) << (2 * i)
                        f[33] = bits
                        f[38] = coarse
                        far = 0
                        for i in range(15):
                            if here[ry + p.far[i, 0], px + p.far[i, 1]] > half:
                                far |= 1 << i
                        f[34] = bits | (far & 127) << 12
                        f[35] = bits | far << 12
                    scale = 0
                    if not value_tree:
                        while (active >> (5 + scale + classes_at)) > 0 and scale < most_class:
                            scale += 1
                    f[41] = scale
                    f[45] = biased
                    f[46], f[47], f[48], f[49], f[50] = near[6], near[8], near[7], near[10], near[11]
                    for i in range(terms):
                        a = f[p.terms[i, 0]]
                        kind = p.terms[i, 1]
                        if kind == 1:
                            a -= guess
                        elif kind == 2:
                            a = signed_class(a - guess, tb.classes)
                        elif kind == 3:
                            a = signed_class(a, tb.classes)
                        t[i] = a
                    for j in range(contexts):
                        h = np.uint64(j + 1) * _OF_CONTEXT + np.uint64(c) * _OF_CHANNEL + np.uint64(scale) * _OF_CLASS
                        for i in range(p.part_counts[j]):
                            h = (h ^ np.uint64(t[p.parts[j, i, 0]] >> p.parts[j, i, 1])) * _MULTIPLY
                            h ^= h >> _HALF
                        wk.hashes[j] = h
                    map_near = clip(signed_class(w - guess, tb.classes) + 8, 0, 15) * 4 + (
                        clip(signed_class(north - guess, tb.classes) + 4, 0, 7) >> 1
                    )

                    # ------------------------------------------------------------------------- binary decisions
                    flagged = f[13] if value_tree else guess
                    value = images[item, row, xp, c] + 0
                    lo, hi = 0, top + 1  # lo <= value < hi
                    phase = 1 if scale > 0 else 0
                    line = -1
                    down = 0  # whether the value lies below the guess
                    origin = 0  # of magnitudes
                    reach = 0  # the largest magnitude
                    bucket, begin, within = 0, 0, 0
                    prefix = 1
                    bit = value_bits - 1
                    while hi - lo > 1:
                        threshold = 0
                        ln, slot, kind = 0, 0, 0
                        if phase == 1:
                            if (scale == 0 and (guess <= lo or guess >= hi - 1)) or (scale > 0 and guess <= lo):
                                down = 1 if guess > lo else 0
                                if down:
                                    origin = guess - 1
                                    reach = origin
                                    hi = guess
                                else:
                                    origin = guess + 1 if scale == 0 else guess
                                    reach = top - origin
                                    lo = origin
                                if scale == 0:
                                    for k in range(guesses):
                                        if down:
                                            high_mass[k] = mass[k]
                                        else:
                                            low_mass[k] = mass2[k]
                                phase = 2
                                continue
                            slot = 1
                            kind = 1
                            threshold = guess + 1 if scale == 0 else guess
                        elif phase == 2:
                            within = scale + max(0, bucket - 3)
                            if begin + (1 << within) > reach:
                                phase = 3
                                prefix = 1
                                continue
                            ln = down + 0
                            slot = min(2 + bucket, 15)
                            kind = 2 + min(bucket, 9)
                            threshold = begin + (1 << within)
                        elif phase == 3:
                            if within == 0:
                                break
                            within -= 1
                            threshold = begin + (1 << within)
                            if threshold > reach:
                                prefix *= 2
                                continue
                            ln = 2 + down * 16 + min(bucket, 15)
                            slot = prefix if prefix < 8 else 8 + min(within, 7)
                            kind = 12 + min(within, 3)
                        elif phase == 4:
                            threshold = lo + (1 << bit)
                            if threshold > top:
                                bit -= 1
                                prefix *= 2
                                continue
                            if threshold - lo == 1 and lo == flagged:  # known not to be that one
                                lo = threshold
                                continue
                            if hi - threshold == 1 and threshold == flagged:
                                hi = threshold
                                bit -= 1
                                prefix *= 2
                                continue
                            if prefix < 16:
                                slot = prefix
                            else:
                                depth = 4
                                while (prefix >> (depth + 1)) > 0:
                                    depth += 1
                                if depth < 8:
                                    ln = 1 + ((prefix >> (depth - 4)) & 15)
                                    slot = (1 << (depth - 4)) | (prefix & ((1 << (depth - 4)) - 1))
                                else:
                                    ln = min(20 + depth, LINES - 1)
                                    slot = prefix & 7
                            kind = 1 + min(bit, 14)
                        v = flagged if phase == 0 else threshold
                        if phase >= 2 and phase < 4:
                            v = origin - threshold + 1 if down else origin + threshold

                        # ----------------------------------------------------------------- what the guesses say
                        for k in range(guesses):
                            g = cumulative(v, mu[k], inv[k], tb.cumulative)
                            if v <= 0:
                                g = 0
                            if v > top:
                                g = _ONE
                            if phase == 0:
                                g2 = cumulative(v + 1, mu[k], inv[k], tb.cumulative)
                                if v >= top:
                                    g2 = _ONE
                                mass2[k] = g2
                                share, whole_mass = g2 - g, _ONE
                            elif phase == 1:
                                if scale == 0:
                                    mass2[k] = mass[k]
                                    share = _ONE - g
                                    whole_mass = share + mass2[k]
                                else:
                                    share, whole_mass = _ONE - g, _ONE
                            elif phase == 4 or not down:
                                share, whole_mass = high_mass[k] - g, high_mass[k] - low_mass[k]
                            else:
                                share, whole_mass = g - low_mass[k], high_mass[k] - low_mass[k]
                            mass[k] = g
                            chance = ((share + 8) << 16) // (whole_mass + 16)
                            wk.inputs[k] = tb.stretch[np.uint64(clip(chance, 1, 65535))]

                        # ----------------------------------------------------------------- what the contexts say
                        if ln != line:
                            line = ln
                            salt = np.uint64(ln) * _OF_LINE
                            for j in range(contexts):
                                jj = np.uint64(j)
                                h = (wk.hashes[jj] + salt) * _MULTIPLY
                                wk.places[jj] = (h >> line_shift) << _SLOT_BITS
                        at = np.uint64(guesses)
                        low = np.uint64(slot)
                        for j in range(contexts):
                            jj = np.uint64(j)
                            counter = np.int64(st.counters[jj, wk.places[jj] + low])
                            wk.held[jj] = counter
                            trust = np.int64(tb.confidence[np.uint64(counter & 1023)])
                            wk.inputs[at] = np.int64(tb.stretch[np.uint64(counter >> 16)]) * trust >> 8
                            at += _NEXT
                            if double:
                                wk.inputs[at] = ((counter >> 20) - 2048) * trust >> 9
                                at += _NEXT
                        wk.inputs[at] = 256

                        # ----------------------------------------------------------------- mixing
                        node = (c * LINES + ln) * SLOTS + slot
                        wk.rows[0] = node
                        wk.rows[1] = kind * 40 + aq
                        wk.rows[2] = (kind * TEXTURES + texture) * 4 + c
                        logit = 0
                        for s in range(sets):
                            wk.logits[s] = mixed(wk.inputs, st.mixers, s, wk.rows[s], inputs)
                            wk.chances[s] = tb.squash[np.uint64(wk.logits[s] + 3071)]
                            logit += wk.logits[s] * st.finals[node, s]
                        logit = clip(logit >> 16, -3071, 3071) if sets > 1 else wk.logits[0]
                        mixture = np.int64(tb.squash[np.uint64(logit + 3071)])
                        final = mixture
                        map_a, map_b, part = 0, 0, 0
                        if maps:
                            knot = (logit + 3072) >> 8
                            part = (logit + 3072) & 255
                            map_a = node * 25 + knot
                            map_b = ((kind * 32 + min(aq, 31)) * 64 + map_near) * 25 + knot
                            chance_a = (st.maps[map_a] * (256 - part) + st.maps[map_a + 1] * part) >> 8
                            chance_b = (st.near_maps[map_b] * (256 - part) + st.near_maps[map_b + 1] * part) >> 8
                            final = (2 * mixture + chance_a + chance_b + 2) >> 2
                            final = clip(final, 16, _TOP - 16)

                        # ----------------------------------------------------------------- the bit
                        if decoding:
                            one = 1 if peek_one(stack_state, 0, 0, 22) < final else 0
                            start, freq = (0, final) if one else (final, _TOP - final)
                            if not pop_one(stack_state, words, count, 0, 0, start, freq, 22):
                                return item, row, False
                        else:
                            if phase == 0:
                                one = 1 if value == flagged else 0
                            elif phase == 2 or phase == 3:
                                one = 1 if (value < v if down else value >= v) else 0
                            else:
                                one = 1 if value >= v else 0
                            decisions[np.uint64(st.counts[2])] = np.uint32(2 * final + one)
                        st.counts[2] += 1

                        # ----------------------------------------------------------------- learning from it
                        target = _TOP if one else 0
                        for s in range(sets):
                            seen = st.seen[s, wk.rows[s]]
                            rate = rate_last + rate_first * 64 // (64 + seen)
                            if seen < 65535:
                                st.seen[s, wk.rows[s]] = seen + 1
                            step = (((target - wk.chances[s]) >> 6) * rate) >> 6
                            taught(wk.inputs, st.mixers, s, wk.rows[s], inputs, step)
                        if sets > 1:
                            step = ((target - mixture) >> 6) * rate_final
                            for s in range(sets):
                                moved = st.finals[node, s] + ((wk.logits[s] * step + (1 << 21)) >> 22)
                                st.finals[node, s] = clip(moved, -WEIGHT_MAX, WEIGHT_MAX)
                        if maps:
                            if part > 127:
                                map_a += 1
                                map_b += 1
                            st.maps[map_a] += (target - st.maps[map_a]) >> 6
                            st.near_maps[map_b] += (target - st.near_maps[map_b]) >> 6
                        for j in range(contexts):
                            jj = np.uint64(j)
                            counter = wk.held[jj]
                            times = counter & 1023
                            chance = counter >> 10
                            chance += ((target - chance) * np.int64(tb.rates[np.uint64(times)])) >> 16
                            chance = clip(chance, 0, _TOP - 1)
                            times = min(times + 1, counter_limit)
                            st.counters[jj, wk.places[jj] + low] = np.uint32(chance << 10 | times)

                        # ----------------------------------------------------------------- what is still open
                        if phase == 0:
                            if one:
                                lo, hi = flagged, flagged + 1
                            else:
                                phase = 4 if value_tree else 1
                        elif phase == 1:
                            down = 1 - one
                            if down:
                                origin = guess - 1
                                reach = origin
                                hi = guess
                                for k in range(guesses):
                                    high_mass[k] = mass2[k] if scale == 0 else mass[k]
                            else:
                                origin = v
                                reach = top - v
                                lo = v
                                for k in range(guesses):
                                    low_mass[k] = mass[k]
                            phase = 2
                        else:
                            if (one == 1) != (down == 1 and phase < 4):
                                lo = v
                                for k in range(guesses):
                                    low_mass[k] = mass[k]
                            else:
                                hi = v
                                for k in range(guesses):
                                    high_mass[k] = mass[k]
                            if phase == 2:
                                if one:
                                    begin = threshold
                                    bucket += 1
                                else:
                                    phase = 3
                                    prefix = 1
                            elif phase == 3:
                                if one:
                                    begin = threshold
                                prefix = prefix * 2 + one
                            else:
                                bit -= 1
                                prefix = prefix * 2 + one
                    value = lo
                    if decoding:
                        images[item, row, xp, c] = value
                    if ends.size:
                        ends[np.uint64(((item * height + row) * width + xp) * channels + c)] = st.counts[2]
                    planes[now, c, ry, px] = value

                    # ------------------------------------------------------------------------- learning from the value
                    exact = value << 6
                    for k in range(guesses):
                        error = abs(exact - mu[k])  # below 2^22
                        er[k, c, e0, px] = error
                        st.scales[k, c, sidx[k]] += ((error << 10) - st.scales[k, c, sidx[k]]) >> scale_rate
                    es[c, s0, px] = value - guess
                    st.bias[c, biased] += (((exact - mu[q]) << 8) - st.bias[c, biased]) >> bias_rate
                    for k in range(predictors):
                        m = p.tap_counts[k, c]
                        error = value - base
                        anything = error
                        for i in range(m):
                            anything |= wk.seen[k, i]
                        if anything == 0:
                            continue
                        system = c * 4 + (slope if p.split[k] else 0)
                        forget = p.forget[k]
                        drop = max(0, forget - 11)
                        lift = (weigh - min(whiten, max(0, (aq - whiten_from) >> 1))) >> 1
                        for i in range(m):
                            wk.xs[i] = scaled(wk.seen[k, i], lift)
                        padded = (m + 7) & ~7
                        for i in range(m, padded):
                            wk.xs[i] = 0
                        for i in range(m):
                            correlate(st.products, k, system, i, wk.xs, padded, forget, drop)
                        error = scaled(error, lift)
                        for i in range(m):
                            r = np.int64(st.targets[k, system, i])
                            r += ((error * wk.xs[i] + (1 << drop >> 1)) >> drop) - ((r + (1 << (forget - 1))) >> forget)
                            st.targets[k, system, i] = r
                        for i in range(xp % solve, m, solve):  # a turn of Gauss and Seidel takes so many pixels
                            rest = (np.int64(st.targets[k, system, i]) << 16) - against(
                                st.products, st.weights, k, system, i, padded
                            )
                            r = np.int64(st.products[k, system, i, i])
                            moved = st.weights[k, system, i] + rest // (r + (r >> 8) + (regular >> drop))
                            st.weights[k, system, i] = clip(moved, -(1 << 19), 1 << 19)
            for c in range(channels):
                for i in range(ASIDE):
                    px = width + ASIDE + i
                    planes[now, c, ry, px] = planes[now, c, ry, px - 1]
                    for k in range(guesses):
                        er[k, c, e0, px] = er[k, c, e0, px - 1]
                    es[c, s0, px] = 0
            row += 1
            if st.counts[2] >= limit:
                break
        if row == height:
            row = 0
            item += 1
        if st.counts[2] >= limit:
            break
    return item, row, True
