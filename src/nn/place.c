/* place.c - lifetimes of the plan's values and their places in the arena: in place where a kernel
 * allows it and the input ends there, then largest first into the lowest gap that is free for the
 * whole lifetime (as in Pisarchyk and Lee, "Efficient Memory Management for Deep Neural Net
 * Inference", arXiv:2001.03288, greedy by size). */
#include "nn/plan.h"

#include <stdlib.h>

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

dermis_status nn_place(nn_plan *plan, dermis_error *err)
{
    lifetimes(plan);
    share_in_place(plan);
    nn_value **order = base_calloc(BASE_TAG_NN, plan->value_count + 1, sizeof *order);
    nn_value **placed = base_calloc(BASE_TAG_NN, plan->value_count + 1, sizeof *placed);
    dermis_status status = DERMIS_OK;
    if (!order || !placed) {
        status = base_fail(err, DERMIS_E_MEMORY, "not enough memory to place %u tensors",
                           plan->value_count);
        goto out;
    }
    size_t n = 0, count = 0;
    for (uint32_t v = 0; v < plan->value_count; v++)
        if (plan->values[v].root == v && plan->values[v].first != UINT32_MAX)
            order[n++] = &plan->values[v];
    qsort(order, n, sizeof *order, larger_first);
    size_t forward_end = 0, end = 0;
    for (size_t i = 0; i < n; i++) {
        nn_value *v = order[i];
        v->offset = lowest_gap(v, placed, count);
        size_t j = count++;
        for (; j > 0 && placed[j - 1]->offset > v->offset; j--)
            placed[j] = placed[j - 1];
        placed[j] = v;
        size_t last = v->offset + value_bytes(v);
        end = last > end ? last : end;
        if (!v->gradient)
            forward_end = last > forward_end ? last : forward_end;
    }
    plan->activation_bytes = forward_end;
    plan->gradient_bytes = end - forward_end;
    plan->scratch_offset = end;
    for (uint32_t s = 0; s < plan->step_count; s++) {
        size_t live = 0;
        for (size_t i = 0; i < n; i++)
            if (order[i]->first <= s && order[i]->last >= s)
                live += value_bytes(order[i]);
        if (live > plan->largest_live_bytes)
            plan->largest_live_bytes = live;
    }
out:
    base_free(order);
    base_free(placed);
    return status;
}
