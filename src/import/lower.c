/* lower.c - the graph made smaller without changing what it computes. The passes, in order:
 *
 *   1. merge_affines     s2 (s1 x + t1) + t2 becomes one affine
 *   2. fold_affines      an affine behind a convolution or dense layer goes into its weights; t is
 *                        kept (ir_node.fold), since explanations want the layer's own output
 *   3. fold_pads         zero padding goes into the convolution behind it
 *   4. hard_swish        x * relu6(x + 3) / 6 in its three spellings becomes one activation
 *   5. fuse_activations  an element-wise activation goes into the convolution before it; never the
 *                        model's last node, so that its logits stay a tensor
 *   6. fuse_residuals    an addition goes into the convolution that feeds it, with the activation
 *                        behind it
 *
 * Arithmetic is in double precision and rounded once, in finish.c and here for weights. A pass that
 * would make a number infinite leaves the nodes as they are. */
#include "import/internal.h"

#include <math.h>
#include <string.h>

typedef struct uses {
    uint32_t *count; /* consumers of each node; the answer has one more */
    uint32_t *user;  /* the last of them */
} uses;

static dermis_status find_uses(import_context *c, uses *u)
{
    if (!u->count) {
        u->count = import_new(c, c->node_count, sizeof *u->count);
        u->user = import_new(c, c->node_count, sizeof *u->user);
        if (!u->count || !u->user)
            return DERMIS_E_MEMORY;
    }
    memset(u->count, 0, c->node_count * sizeof *u->count);
    for (uint32_t i = 0; i < c->node_count; i++)
        if (!c->nodes[i].dead)
            for (uint32_t k = 0; k < c->nodes[i].input_count; k++) {
                u->count[c->nodes[i].inputs[k]]++;
                u->user[c->nodes[i].inputs[k]] = i;
            }
    u->count[c->output]++;
    return DERMIS_OK;
}

/* What read `from` reads `to` now; `from` is dead. `counts`: to has from's consumers and lost one.
 */
static void replace(import_context *c, uses *u, uint32_t from, uint32_t to)
{
    for (uint32_t i = 0; i < c->node_count; i++)
        if (!c->nodes[i].dead)
            for (uint32_t k = 0; k < c->nodes[i].input_count; k++)
                if (c->nodes[i].inputs[k] == from) {
                    c->nodes[i].inputs[k] = to;
                    u->user[to] = i;
                }
    u->count[to] += u->count[from] - 1;
    u->count[from] = 0;
    c->nodes[from].dead = true;
    if (c->output == from)
        c->output = to;
}

static bool is_conv(const ir_node *n)
{
    return n->op == MODEL_CONV || n->op == MODEL_DEPTHWISE;
}

static bool fits(double v)
{
    return isfinite((float)v);
}

/* ---- 1 ---- */

static dermis_status merge_affines(import_context *c, uses *u)
{
    for (uint32_t i = 0; i < c->node_count; i++) {
        ir_node *b = &c->nodes[i];
        if (b->dead || b->op != MODEL_AFFINE)
            continue;
        ir_node *a = &c->nodes[b->inputs[0]];
        if (a->op != MODEL_AFFINE || u->count[b->inputs[0]] != 1)
            continue;
        uint32_t n = b->out.c;
        double *s = import_new(c, n, sizeof *s), *t = import_new(c, n, sizeof *t);
        bool good = true;
        if (!s || !t)
            return DERMIS_E_MEMORY;
        for (uint32_t k = 0; k < n; k++) {
            double s1 = a->scale ? a->scale[k] : 1, t1 = a->shift ? a->shift[k] : 0;
            double s2 = b->scale ? b->scale[k] : 1, t2 = b->shift ? b->shift[k] : 0;
            s[k] = s1 * s2;
            t[k] = s2 * t1 + t2;
            good = good && fits(s[k]) && fits(t[k]);
        }
        if (!good)
            continue;
        b->scale = s;
        b->shift = t;
        a->dead = true;
        u->count[b->inputs[0]] = 0;
        b->inputs[0] = a->inputs[0];
        u->user[a->inputs[0]] = i;
    }
    return DERMIS_OK;
}

/* ---- 2 ---- */

/* z = s x + t with x = W in + b: W' = s W, b' = s b + t. A scale of exactly 0 is right as it is:
 * W' = 0, so z = t and the map's z - t is 0, as its gradient with respect to x is. */
static dermis_status fold_one(import_context *c, ir_node *conv, const ir_node *affine, bool *done)
{
    uint32_t n = conv->out.c;
    size_t rows = conv->weight_count / n; /* the output channel is the last axis of every kernel */
    *done = false;
    for (uint32_t k = 0; k < n; k++) {
        double s = affine->scale ? affine->scale[k] : 1, t = affine->shift ? affine->shift[k] : 0;
        if (!fits(s * (conv->bias ? conv->bias[k] : 0) + t) ||
            !fits(s * (conv->fold ? conv->fold[k] : 0) + t))
            return DERMIS_OK;
        if (fabs(s) > 1) /* only then can a weight overflow */
            for (size_t r = 0; r < rows; r++)
                if (!fits(s * conv->weight[r * n + k]))
                    return DERMIS_OK;
    }
    if (!conv->bias)
        conv->bias = import_new(c, n, sizeof *conv->bias);
    if (!conv->fold)
        conv->fold = import_new(c, n, sizeof *conv->fold);
    if (!conv->bias || !conv->fold)
        return DERMIS_E_MEMORY;
    for (uint32_t k = 0; k < n; k++) {
        double s = affine->scale ? affine->scale[k] : 1, t = affine->shift ? affine->shift[k] : 0;
        conv->bias[k] = s * conv->bias[k] + t;
        conv->fold[k] = s * conv->fold[k] + t;
    }
    if (affine->scale)
        for (size_t r = 0; r < rows; r++)
            for (uint32_t k = 0; k < n; k++)
                conv->weight[r * n + k] = (float)(affine->scale[k] * conv->weight[r * n + k]);
    *done = true;
    return DERMIS_OK;
}

static dermis_status fold_affines(import_context *c, uses *u)
{
    for (uint32_t i = 0; i < c->node_count; i++) {
        ir_node *n = &c->nodes[i];
        if (n->dead || n->op != MODEL_AFFINE)
            continue;
        uint32_t from = n->inputs[0];
        bool done;
        if (!is_conv(&c->nodes[from]) || u->count[from] != 1)
            continue;
        TRY(fold_one(c, &c->nodes[from], n, &done));
        if (done)
            replace(c, u, i, from);
    }
    return DERMIS_OK;
}

/* ---- 3 ---- */

static void fold_pads(import_context *c, uses *u)
{
    for (uint32_t i = 0; i < c->node_count; i++) {
        ir_node *n = &c->nodes[i];
        if (n->dead || !is_conv(n))
            continue;
        uint32_t from = n->inputs[0];
        const ir_node *pad = &c->nodes[from];
        if (pad->op != MODEL_PAD || pad->at.pad.value != 0 || u->count[from] != 1)
            continue;
        n->at.conv.pad_top += pad->at.pad.top;
        n->at.conv.pad_left += pad->at.pad.left;
        n->at.conv.pad_bottom += pad->at.pad.bottom;
        n->at.conv.pad_right += pad->at.pad.right;
        n->inputs[0] = pad->inputs[0];
        u->user[pad->inputs[0]] = i;
        u->count[from] = 0;
        c->nodes[from].dead = true;
    }
}

/* ---- 4 ---- */

/* Whether all of affine's channels are `scale` and `shift`, within float's rounding. */
static bool affine_is(const ir_node *n, double scale, double shift)
{
    if (n->op != MODEL_AFFINE)
        return false;
    for (uint32_t k = 0; k < n->out.c; k++) {
        double s = n->scale ? n->scale[k] : 1, t = n->shift ? n->shift[k] : 0;
        if (fabs(s - scale) > 1e-6 || fabs(t - shift) > 1e-6)
            return false;
    }
    return true;
}

/* The node before `at` when `at` is its only consumer. */
static bool step_back(const import_context *c, const uses *u, uint32_t at, uint32_t *before)
{
    *before = c->nodes[at].inputs[0];
    return c->nodes[at].input_count == 1 && u->count[*before] == 1;
}

/* affine(1/6) of relu6 of affine(+3), `top` being the affine(1/6): what stands before, or false. */
static bool hard_sigmoid_at(const import_context *c, const uses *u, uint32_t top, uint32_t *input)
{
    uint32_t relu, plus;
    if (!affine_is(&c->nodes[top], 1.0 / 6, 0) || !step_back(c, u, top, &relu))
        return false;
    const model_activation *a = &c->nodes[relu].at.activation;
    if (c->nodes[relu].op != MODEL_ACTIVATION || a->kind != CODE_ACT_RELU || a->p0 != 0 ||
        a->p1 != 6 || a->p2 != 0 || !step_back(c, u, relu, &plus) ||
        !affine_is(&c->nodes[plus], 1, 3))
        return false;
    *input = c->nodes[plus].inputs[0];
    return true;
}

/* Keras 2's MobileNetV3 spells hard_sigmoid and hard_swish out in bare operations. */
static void hard_swish(import_context *c, uses *u)
{
    for (uint32_t i = 0; i < c->node_count; i++) {
        uint32_t input;
        if (c->nodes[i].dead || c->nodes[i].op != MODEL_AFFINE || i == c->output ||
            !hard_sigmoid_at(c, u, i, &input))
            continue;
        uint32_t relu = c->nodes[i].inputs[0], plus = c->nodes[relu].inputs[0];
        c->nodes[i].op = MODEL_ACTIVATION;
        c->nodes[i].at.activation = (model_activation){CODE_ACT_HARD_SIGMOID, 1.0f / 6, 0.5f, 0};
        c->nodes[i].scale = c->nodes[i].shift = NULL;
        c->nodes[i].inputs[0] = input;
        c->nodes[relu].dead = c->nodes[plus].dead = true;
        u->count[relu] = u->count[plus] = 0;
        u->user[input] = i;
        /* x * hard_sigmoid(x) */
        uint32_t product = u->user[i];
        ir_node *p = &c->nodes[product];
        if (u->count[i] != 1 || p->op != MODEL_BINARY || p->at.binary.kind != CODE_MUL ||
            p->inputs[0] + p->inputs[1] != input + i || product == c->output)
            continue;
        p->op = MODEL_ACTIVATION;
        p->at = (model_attributes){.activation = {CODE_ACT_HARD_SILU, 1.0f / 6, 0.5f, 0}};
        p->inputs[0] = input;
        p->input_count = 1;
        c->nodes[i].dead = true;
        u->count[i] = 0;
        u->count[input]--;
        u->user[input] = product;
    }
}

/* ---- 5 ---- */

static void fuse_activations(import_context *c, uses *u)
{
    for (uint32_t i = 0; i < c->node_count; i++) {
        ir_node *n = &c->nodes[i];
        if (n->dead || n->op != MODEL_ACTIVATION || n->at.activation.kind >= CODE_ACT_SOFTMAX ||
            i == c->output)
            continue;
        uint32_t from = n->inputs[0];
        ir_node *conv = &c->nodes[from];
        if (!is_conv(conv) || u->count[from] != 1 || conv->at.conv.activation != CODE_ACT_LINEAR ||
            conv->at.conv.residual != CODE_RESIDUAL_NONE)
            continue;
        conv->at.conv.activation = n->at.activation.kind;
        conv->at.conv.activation_p0 = n->at.activation.p0;
        conv->at.conv.activation_p1 = n->at.activation.p1;
        conv->at.conv.activation_p2 = n->at.activation.p2;
        replace(c, u, i, from);
    }
}

/* ---- 6 ---- */

static bool same_shape(model_shape a, model_shape b)
{
    return a.h == b.h && a.w == b.w && a.c == b.c;
}

/* The convolution moves to the addition's place, which stands behind both operands. */
static dermis_status fuse_residuals(import_context *c, uses *u)
{
    for (uint32_t i = 0; i < c->node_count; i++) {
        ir_node *sum = &c->nodes[i];
        if (sum->dead || sum->op != MODEL_BINARY || sum->at.binary.kind != CODE_ADD)
            continue;
        uint32_t a = sum->inputs[0], b = sum->inputs[1];
        if (a == b || !same_shape(c->nodes[a].out, sum->out) ||
            !same_shape(c->nodes[b].out, sum->out))
            continue;
        uint32_t later = a > b ? a : b, other = a > b ? b : a, conv = UINT32_MAX;
        for (int k = 0; k < 2 && conv == UINT32_MAX; k++) {
            uint32_t at = k ? other : later;
            if (is_conv(&c->nodes[at]) && u->count[at] == 1 &&
                c->nodes[at].at.conv.residual == CODE_RESIDUAL_NONE)
                conv = at;
        }
        if (conv == UINT32_MAX)
            continue;
        uint32_t residual = conv == a ? b : a;
        uint32_t *in = import_new(c, 2, sizeof *in);
        if (!in)
            return DERMIS_E_MEMORY;
        in[0] = c->nodes[conv].inputs[0];
        in[1] = residual;
        *sum = c->nodes[conv];
        sum->inputs = in;
        sum->input_count = 2;
        c->nodes[conv].dead = true;
        u->count[conv] = 0;
        u->user[in[0]] = u->user[residual] = i;
        for (uint32_t k = 0; k < c->layer_count; k++)
            if (c->layers[k].node == conv)
                c->layers[k].node = i;
        if (sum->at.conv.activation != CODE_ACT_LINEAR) {
            sum->at.conv.residual = CODE_RESIDUAL_AFTER_ACT;
            continue;
        }
        sum->at.conv.residual = CODE_RESIDUAL_BEFORE_ACT;
        uint32_t next = u->user[i];
        ir_node *act = &c->nodes[next];
        if (u->count[i] != 1 || i == c->output || next == c->output ||
            act->op != MODEL_ACTIVATION || act->at.activation.kind >= CODE_ACT_SOFTMAX)
            continue;
        sum->at.conv.activation = act->at.activation.kind;
        sum->at.conv.activation_p0 = act->at.activation.p0;
        sum->at.conv.activation_p1 = act->at.activation.p1;
        sum->at.conv.activation_p2 = act->at.activation.p2;
        replace(c, u, next, i);
    }
    return DERMIS_OK;
}

/* Nodes that nothing reads any more, from the back. */
static void remove_unused(import_context *c, uses *u)
{
    for (uint32_t i = c->node_count; i-- > 1;) {
        if (c->nodes[i].dead || u->count[i] > 0)
            continue;
        c->nodes[i].dead = true;
        for (uint32_t k = 0; k < c->nodes[i].input_count; k++)
            u->count[c->nodes[i].inputs[k]]--;
    }
}

/* A layer whose own activation stayed a node of its own is explained behind that. */
static void move_layers(import_context *c)
{
    for (uint32_t k = 0; k < c->layer_count; k++) {
        ir_layer *l = &c->layers[k];
        if (!l->own_activation || c->nodes[l->node].at.conv.activation != CODE_ACT_LINEAR)
            continue;
        for (uint32_t i = 0; i < c->node_count; i++)
            if (!c->nodes[i].dead && c->nodes[i].own_activation &&
                c->nodes[i].inputs[0] == l->node) {
                l->node = i;
                break;
            }
    }
}

dermis_status import_lower(import_context *c)
{
    uses u = {0};
    TRY(find_uses(c, &u));
    remove_unused(c, &u);
    TRY(merge_affines(c, &u));
    TRY(find_uses(c, &u));
    TRY(fold_affines(c, &u));
    fold_pads(c, &u);
    TRY(find_uses(c, &u));
    hard_swish(c, &u);
    TRY(find_uses(c, &u));
    fuse_activations(c, &u);
    TRY(find_uses(c, &u));
    TRY(fuse_residuals(c, &u));
    TRY(find_uses(c, &u));
    remove_unused(c, &u);
    move_layers(c);
    return DERMIS_OK;
}
