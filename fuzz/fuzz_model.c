/* fuzz_model.c - any bytes through the model file's reader, the graph's validation and the plan; where
 * the plan is small, also a run and an explanation at the scalar and at the best level, so that what
 * the validation lets through is shown to be safe. Also replays files: built without the fuzzer
 * (MODEL_REPLAY), it takes paths of files or folders. */
#include <stdlib.h>
#include <string.h>

#include "nn/nn.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MAX_ARENA  ((size_t)1 << 20)
#define MAX_EFFORT 1e6 /* elements times window, of all nodes */

static double effort(const model_graph *g)
{
    double sum = 0;
    for (uint32_t i = 1; i < g->node_count; i++) {
        const model_node *n = &g->nodes[i];
        model_shape in = g->nodes[n->inputs[0]].out;
        double each = 1, elements = (double)n->out.h * n->out.w * n->out.c;
        if (n->op == MODEL_POOL)
            each = (double)n->at.pool.kernel_h * n->at.pool.kernel_w;
        sum += elements * each + (double)in.h * in.w * in.c + 16.0 * (double)model_node_macs(g, i);
    }
    return sum;
}

static void run(const model_graph *g, kernels_level cap, int32_t layer)
{
    nn_options options = {.cap = cap, .threads = 1, .cam_layer = layer};
    nn_plan *plan = NULL;
    nn_session *session = NULL;
    nn_plan_info info;
    if (nn_plan_new(g, &options, &plan, NULL) != DERMIS_OK)
        return;
    nn_plan_get_info(plan, &info);
    if (info.activation_bytes + info.gradient_bytes < info.largest_live_bytes)
        abort(); /* places shared that must not be */
    for (unsigned i = 0; i < info.steps; i++) {
        nn_step_info step;
        nn_plan_get_step(plan, i, &step);
        if (step.offset + step.bytes > info.arena_bytes)
            abort();
    }
    if (info.arena_bytes <= MAX_ARENA && effort(g) <= MAX_EFFORT &&
        nn_session_new(plan, NULL, &session, NULL) == DERMIS_OK) {
        model_shape in = g->nodes[0].out;
        size_t n = (size_t)in.h * in.w * in.c, answers;
        for (size_t i = 0; i < n; i++)
            nn_session_input(session)[i] = (float)(i * 37 % 256);
        nn_run(session);
        nn_session_output(session, &answers);
        if (layer >= 0) {
            nn_target target;
            nn_session_target(session, &target);
            nn_backward(session, (uint32_t)(answers - 1), NN_SCORE_PROBABILITY, false);
            nn_backward(session, 0, NN_SCORE_LOGIT, true);
        }
    }
    nn_session_free(session);
    nn_plan_free(plan);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *aligned = base_alloc(BASE_TAG_BASE, size + 1); /* as a mapped file is */
    model *m = NULL;
    if (!aligned)
        return 0;
    if (size)
        memcpy(aligned, data, size);
    if (model_open_memory(aligned, size, &m, NULL) == DERMIS_OK) {
        const model_graph *g = model_get_graph(m);
        run(g, size & 64 ? KERNELS_SCALAR : kernels_level_best(), -1);
        if (g->layer_count)
            run(g, size & 64 ? kernels_level_best() : KERNELS_SCALAR,
                g->cam_layer >= 0 ? g->cam_layer : 0);
    }
    model_close(m);
    base_free(aligned);
    base_memory memory;
    base_memory_read(&memory);
    if (memory.live_bytes[BASE_TAG_MODEL] != 0 || memory.live_bytes[BASE_TAG_NN] != 0)
        abort(); /* a leak */
    return 0;
}

#ifdef MODEL_REPLAY
#include "replay.h"
#endif
