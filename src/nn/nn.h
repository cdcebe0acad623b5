/* nn.h - operators bound to kernels: the arena's plan made at open from tensor lifetimes, the run,
 * and exact gradients of the network's tail. Knows no pictures.
 *
 * A program (nn_plan) is immutable and may be shared by threads; an nn_session is mutable and
 * belongs to one thread at a time. Everything that can fail happens before nn_run. */
#ifndef NN_NN_H
#define NN_NN_H

#include "kernels/kernels.h"
#include "model/model.h"

typedef struct nn_options {
    kernels_level cap;   /* highest instruction set to use */
    unsigned threads;    /* that runs will use (sizes the scratch) */
    int32_t cam_layer;   /* index of the graph's layers whose explanation is wanted, or -1 */
    bool keep_all;       /* for tests: no tensor shares its place with another */
} nn_options;

/* ---- plan ---- */

typedef struct nn_plan nn_plan;

/* `graph` must be checked and outlive the plan. DERMIS_E_MODEL_UNSUPPORTED when the tail behind
 * cam_layer holds an operator without gradient: the error names it. */
dermis_status nn_plan_new(const model_graph *graph, const nn_options *options, nn_plan **out,
                          dermis_error *err);
void nn_plan_free(nn_plan *plan);

typedef struct nn_plan_info {
    size_t activation_bytes; /* forward tensors */
    size_t gradient_bytes;   /* further ones that the explanation needs */
    size_t scratch_bytes;    /* of the kernels, for all threads */
    size_t arena_bytes;      /* all of it: what a session allocates */
    size_t largest_live_bytes;
    unsigned steps;
} nn_plan_info;
void nn_plan_get_info(const nn_plan *plan, nn_plan_info *out);

/* One step of the program, for `inspect --layers` and `bench --layers`. */
typedef struct nn_step_info {
    const char *name;  /* of the layer */
    const char *op;    /* "conv", ... */
    uint32_t node;
    model_shape out;
    size_t offset, bytes; /* of its output in the arena */
    uint64_t macs;
    size_t weight_bytes;
} nn_step_info;
void nn_plan_get_step(const nn_plan *plan, unsigned step, nn_step_info *out);

/* ---- session ---- */

typedef struct nn_session nn_session;

/* `pool` (NULL: one thread) must have at most options.threads threads and outlive the session. */
dermis_status nn_session_new(const nn_plan *plan, base_pool *pool, nn_session **out,
                             dermis_error *err);
void nn_session_free(nn_session *session);

float *nn_session_input(nn_session *session);        /* [h][w][c] of the graph's node 0; filled
                                                        anew before each run */
void nn_run(nn_session *session);                    /* does not allocate, cannot fail */
const float *nn_session_output(const nn_session *session, size_t *count);
/* Milliseconds that each step of the last nn_run_timed took, [steps]. */
void nn_run_timed(nn_session *session, double *step_ms);

/* Output of node `node`, valid after a run only where the plan kept it (keep_all, or pinned);
 * NULL where it did not or where fusion inside the plan leaves no such tensor. */
const float *nn_session_tensor(const nn_session *session, uint32_t node);

/* ---- explanation ---- */

typedef enum nn_score { NN_SCORE_PROBABILITY, NN_SCORE_LOGIT } nn_score;

/* What a class activation map needs of the target layer: x = output (before the fold: x s = z - t),
 * see model_layer. Arrays stay valid until the next run. */
typedef struct nn_target {
    const float *z;     /* [h][w][c] output of the layer as the plan has it */
    const float *shift; /* [c] t, or NULL for zeros */
    model_shape shape;
} nn_target;
void nn_session_target(const nn_session *session, nn_target *out); /* needs cam_layer >= 0 */

/* After a run: gradient of output `index`'s score with respect to the target's z, [h][w][c], in the
 * arena until the next run or backward. LOGIT: the input of the answer's last activation where that
 * is softmax or sigmoid, else the output itself. `flip` takes the gradient of minus the score (the
 * first class, 1 - p, of a network with one output; probability: d(1-p) = -dp). Does not allocate. */
const float *nn_backward(nn_session *session, uint32_t index, nn_score score, bool flip);

#endif
