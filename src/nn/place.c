/* place.c - lifetimes of the plan's values and their places in the arena: in place where a kernel
 * allows it and the input ends there, then largest first into the lowest gap that is free for the
 * whole lifetime (as in Pisarchyk and Lee, "Efficient Memory Management for Deep Neural Net
 * Inference", arXiv:2001.03288, greedy by size). That costs the square of the number of values, so
 * only the largest GAP_VALUES are placed so: more than any network in use has (NASNetLarge: about
 * 1500 steps). What smaller ones a hostile or strange graph has beyond goes on top of those, each as
 * low as the highest place taken during its lifetime allows. */
#include "nn/plan.h"

#include <stdlib.h>

#define GAP_VALUES 8192

static uint32_t root(nn_plan *plan, uint32_t v)
{
    while (plan->values[v].root != v)
        v = plan->values[v].root;
    return v;
}

static void touch(nn_plan *plan, uint32_t v, uint32_t step)
{
    nn_value *r = &plan->values[root(plan, v)];
    if (step < r->first)
        r->first = step;
    if (step > r->last)
        r->last = step;
}

static void pin(nn_plan *plan, uint32_t v)
{
    if (v == NN_NONE)
        return;
    nn_value *r = &plan->values[root(plan, v)];
    r->pinned = true;
    r->last = plan->step_count;
}

static void lifetimes(nn_plan *plan)
{
    for (uint32_t v = 0; v < plan->value_count; v++) {
        plan->values[v].first = UINT32_MAX;
        plan->values[v].last = 0;
    }
    for (uint32_t s = 0; s < plan->step_count; s++) {
        const nn_step *step = &plan->steps[s];
        touch(plan, step->out, s);
        for (uint32_t k = 0; k < step->in_count; k++)
            touch(plan, step->ins[k], s);
        if (step->in_scale != NN_NONE)
            touch(plan, step->in_scale, s);
    }
    /* what the backward pass reads of the forward one stays for further classes of the same run */
    for (uint32_t s = plan->forward_count; s < plan->step_count; s++)
        for (uint32_t k = 0; k < plan->steps[s].in_count; k++)
            if (!plan->values[plan->steps[s].ins[k]].gradient)
                touch(plan, plan->steps[s].ins[k], plan->step_count);
    touch(plan, plan->input, 0);
    pin(plan, plan->input);
    pin(plan, plan->output);
    pin(plan, plan->target);
    pin(plan, plan->target_gradient);
    if (plan->seed != NN_NONE) /* both may be filled before the backward pass begins */
        touch(plan, plan->seed, plan->forward_count);
    if (plan->logits != NN_NONE)
        touch(plan, plan->logits, plan->forward_count);
    for (uint32_t s = 0; plan->options.keep_all && s < plan->step_count; s++)
        pin(plan, plan->steps[s].out);
}

/* Whether step `s` may write over input `k`: same size, a kernel that allows it, last use. */
static bool may_overwrite(nn_plan *plan, uint32_t s, uint32_t k)
{
    const nn_step *step = &plan->steps[s];
    bool kind = step->op == MODEL_ACTIVATION || step->op == MODEL_AFFINE;
    if (step->phase == NN_FORWARD)
        kind = kind || step->op == MODEL_BINARY || step->op == MODEL_PRELU;
    if (!kind || (step->phase == NN_GRADIENT && k != 0))
        return false;
    uint32_t in = root(plan, step->ins[k]);
    const nn_value *r = &plan->values[in], *out = &plan->values[step->out];
    if (r->pinned || r->last != s || out->root != step->out || out->pinned ||
        plan->values[step->ins[k]].elements != out->elements || r->elements != out->elements)
        return false;
    for (uint32_t other = 0; other < step->in_count; other++)
        if (other != k && root(plan, step->ins[other]) == in)
            return false;
    return true;
}

static void share_in_place(nn_plan *plan)
{
    for (uint32_t s = 0; s < plan->step_count; s++) {
        nn_step *step = &plan->steps[s];
        for (uint32_t k = 0; k < step->in_count && k < 2; k++)
            if (may_overwrite(plan, s, k)) {
                nn_value *out = &plan->values[step->out];
                nn_value *in = &plan->values[root(plan, step->ins[k])];
                out->root = root(plan, step->ins[k]);
                in->last = out->last > in->last ? out->last : in->last;
                break;
            }
    }
}

static int larger_first(const void *a, const void *b)
{
    const nn_value *x = *(nn_value *const *)a, *y = *(nn_value *const *)b;
    if (x->elements != y->elements)
        return x->elements < y->elements ? 1 : -1;
    return x < y ? -1 : x > y;
}

static size_t value_bytes(const nn_value *v)
{
    return base_align_up(v->elements * sizeof(float), BASE_ALIGNMENT);
}

static bool alive_together(const nn_value *a, const nn_value *b)
{
    return a->first <= b->last && b->first <= a->last;
}

/* Lowest offset at which `v` overlaps none of the `n` placed ones (sorted by offset) that live at
 * the same time. */
static size_t lowest_gap(const nn_value *v, nn_value **placed, size_t n)
{
    size_t at = 0, need = value_bytes(v);
    for (size_t i = 0; i < n; i++) {
        const nn_value *p = placed[i];
        if (!alive_together(v, p) || p->offset + value_bytes(p) <= at)
            continue;
        if (p->offset >= at + need)
            break;
        at = p->offset + value_bytes(p);
    }
    return at;
}

/* ---- beyond GAP_VALUES: the highest byte taken at each step, as a tree of maxima over steps ---- */

typedef struct tops {
    size_t *most;  /* [2 * width]: of what reaches into a part of the steps */
    size_t *whole; /* [2 * width]: of what covers all of that part */
    uint32_t width; /* steps, rounded up to a power of two */
} tops;

/* Highest end of what lives at any step of first..last; `part` covers from..to. */
static size_t tops_get(const tops *t, uint32_t part, uint32_t from, uint32_t to, uint32_t first,
                       uint32_t last)
{
    if (last < from || to < first)
        return 0;
    if (first <= from && to <= last)
        return t->most[part];
    uint32_t middle = from + (to - from) / 2;
    size_t a = tops_get(t, 2 * part, from, middle, first, last);
    size_t b = tops_get(t, 2 * part + 1, middle + 1, to, first, last);
    size_t r = a > b ? a : b;
    return r > t->whole[part] ? r : t->whole[part];
}

static void tops_raise(tops *t, uint32_t part, uint32_t from, uint32_t to, uint32_t first,
                       uint32_t last, size_t end)
{
    if (last < from || to < first)
        return;
    if (end > t->most[part])
        t->most[part] = end;
    if (first <= from && to <= last) {
        if (end > t->whole[part])
            t->whole[part] = end;
        return;
    }
    uint32_t middle = from + (to - from) / 2;
    tops_raise(t, 2 * part, from, middle, first, last, end);
    tops_raise(t, 2 * part + 1, middle + 1, to, first, last, end);
}

/* Places order[done..n), the first `done` being placed. */
static dermis_status place_on_top(const nn_plan *plan, nn_value **order, size_t done, size_t n,
                                  dermis_error *err)
{
    tops t = {.width = 1};
    while (t.width <= plan->step_count) /* pinned values live until step_count */
        t.width *= 2;
    t.most = base_calloc(BASE_TAG_NN, 2 * (size_t)t.width, sizeof *t.most);
    t.whole = base_calloc(BASE_TAG_NN, 2 * (size_t)t.width, sizeof *t.whole);
    dermis_status status = DERMIS_OK;
    if (!t.most || !t.whole)
        status = base_fail(err, DERMIS_E_MEMORY, "not enough memory to place %u tensors",
                           plan->value_count);
    for (size_t i = 0; !status && i < n; i++) {
        nn_value *v = order[i];
        if (i >= done)
            v->offset = tops_get(&t, 1, 0, t.width - 1, v->first, v->last);
        tops_raise(&t, 1, 0, t.width - 1, v->first, v->last, v->offset + value_bytes(v));
    }
    base_free(t.most);
    base_free(t.whole);
    return status;
}

/* Most bytes that live at one step: the least that any placing could take. */
static size_t largest_live(const nn_plan *plan, nn_value **order, size_t n, size_t *change)
{
    for (size_t i = 0; i < n; i++) { /* sums wrap where more ends than begins, and wrap back */
        change[order[i]->first] += value_bytes(order[i]);
        change[order[i]->last + 1] -= value_bytes(order[i]);
    }
    size_t live = 0, most = 0;
    for (uint32_t s = 0; s < plan->step_count; s++) {
        live += change[s];
        most = live > most ? live : most;
    }
    return most;
}

dermis_status nn_place(nn_plan *plan, dermis_error *err)
{
    lifetimes(plan);
    share_in_place(plan);
    nn_value **order = base_calloc(BASE_TAG_NN, plan->value_count + 1, sizeof *order);
    nn_value **placed = base_calloc(BASE_TAG_NN, GAP_VALUES, sizeof *placed);
    size_t *change = base_calloc(BASE_TAG_NN, (size_t)plan->step_count + 2, sizeof *change);
    dermis_status status = DERMIS_OK;
    if (!order || !placed || !change) {
        status = base_fail(err, DERMIS_E_MEMORY, "not enough memory to place %u tensors",
                           plan->value_count);
        goto out;
    }
    size_t n = 0;
    for (uint32_t v = 0; v < plan->value_count; v++)
        if (plan->values[v].root == v && plan->values[v].first != UINT32_MAX)
            order[n++] = &plan->values[v];
    qsort(order, n, sizeof *order, larger_first);
    size_t gaps = n < GAP_VALUES ? n : GAP_VALUES;
    for (size_t i = 0; i < gaps; i++) {
        nn_value *v = order[i];
        v->offset = lowest_gap(v, placed, i);
        size_t j = i;
        for (; j > 0 && placed[j - 1]->offset > v->offset; j--)
            placed[j] = placed[j - 1];
        placed[j] = v;
    }
    if (n > gaps && (status = place_on_top(plan, order, gaps, n, err)))
        goto out;
    size_t forward_end = 0, end = 0;
    for (size_t i = 0; i < n; i++) {
        size_t last = order[i]->offset + value_bytes(order[i]);
        end = last > end ? last : end;
        if (!order[i]->gradient)
            forward_end = last > forward_end ? last : forward_end;
    }
    plan->activation_bytes = forward_end;
    plan->gradient_bytes = end - forward_end;
    plan->scratch_offset = end;
    plan->largest_live_bytes = largest_live(plan, order, n, change);
out:
    base_free(order);
    base_free(placed);
    base_free(change);
    return status;
}
