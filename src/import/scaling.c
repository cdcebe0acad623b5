/* scaling.c - what stands between the photograph's 0..255 and the first layer with weights: the
 * nodes of --preprocess, and the warning where nothing seems to scale. */
#include "import/internal.h"

#include <math.h>
#include <string.h>

dermis_status import_preprocess(import_context *c, const char *how, import_tensor *input)
{
    static const struct {
        const char *name;
        double scale[3], shift[3];
        bool reversed; /* channels as B, G, R */
    } known[] = {
        {"0..1", {1 / 255.0, 1 / 255.0, 1 / 255.0}, {0, 0, 0}, false},
        {"-1..1", {1 / 127.5, 1 / 127.5, 1 / 127.5}, {-1, -1, -1}, false},
        /* keras.applications.imagenet_utils: mode "caffe", mode "torch" */
        {"caffe", {1, 1, 1}, {-103.939, -116.779, -123.68}, true},
        {"torch",
         {1 / (255 * 0.229), 1 / (255 * 0.224), 1 / (255 * 0.225)},
         {-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225},
         false},
    };
    if (!how || !strcmp(how, "none"))
        return DERMIS_OK;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strcmp(how, known[i].name))
            continue;
        model_shape s = import_ir_shape(c, *input);
        if (s.c != 3 && known[i].scale[0] != known[i].scale[2])
            return import_fail(c, DERMIS_E_USAGE,
                               "--preprocess %s is for three channels, the "
                               "model has %u",
                               how, s.c);
        if (s.c != 3 && known[i].reversed)
            return import_fail(c, DERMIS_E_USAGE,
                               "--preprocess %s is for three channels, the "
                               "model has %u",
                               how, s.c);
        if (known[i].reversed) {
            model_attributes at = {0};
            at.slice.start_c = 2, at.slice.step_c = -1;
            at.slice.step_h = at.slice.step_w = 1;
            at.slice.h = (int32_t)s.h, at.slice.w = (int32_t)s.w, at.slice.c = 3;
            uint32_t node = 0;
            TRY(import_ir_append(c, MODEL_SLICE, "--preprocess", input, 1, at, s, &node));
            input->node = node;
        }
        double *scale = import_new(c, s.c, sizeof *scale),
               *shift = import_new(c, s.c, sizeof *shift);
        if (!scale || !shift)
            return DERMIS_E_MEMORY;
        memcpy(scale, known[i].scale, s.c * sizeof *scale);
        memcpy(shift, known[i].shift, s.c * sizeof *shift);
        return import_ir_affine(c, "--preprocess", *input, scale, shift, input);
    }
    return import_fail(c, DERMIS_E_USAGE,
                       "--preprocess %s: must be one of none, 0..1, -1..1, caffe, torch", how);
}

/* The warning. A model that scales has an affine (Rescaling, Normalization, a BatchNormalization on
 * the picture) or another arithmetic node between input and first convolution. Where there is none,
 * the first convolution's weights are asked what inputs they saw:
 *
 *  - behind it stands a BatchNormalization: its moving mean is the mean output during training.
 * With inputs of mean m the output of channel k has mean m * gain_k + bias_k (gain: the sum of its
 *    weights), so m is estimated over the channels by least squares. A photograph's mean is about
 *    100 to 160 in 0..255; 0..1, -1..1, caffe and torch all give an |m| below 1 to 10. Below 30:
 * warn. Fresh statistics (all means exactly 0) say nothing.
 *  - otherwise: the root mean square over channels of what a photograph of 0..255 would give, 128
 *    times the root of the sum of the squared weights. Trained first layers answer in units, not in
 *    tens, to what they were trained on; above 20: warn. A guess, hence "looks as if".  */
dermis_status import_check_scaling(import_context *c, import_tensor input)
{
    uint32_t at = input.node, users, user = 0;
    if (c->options->preprocess && strcmp(c->options->preprocess, "none"))
        return DERMIS_OK;
    for (;;) { /* along the only consumer, through what moves pixels */
        users = 0;
        for (uint32_t i = at + 1; i < c->node_count; i++)
            for (uint32_t k = 0; k < c->nodes[i].input_count; k++)
                if (c->nodes[i].inputs[k] == at)
                    user = i, users++;
        if (users != 1)
            return DERMIS_OK; /* arithmetic of some kind: taken as scaling */
        model_op op = c->nodes[user].op;
        if (op == MODEL_CONV || op == MODEL_DEPTHWISE)
            break;
        if (op != MODEL_PAD && op != MODEL_SLICE && op != MODEL_RESIZE && op != MODEL_RESHAPE &&
            op != MODEL_POOL)
            return DERMIS_OK;
        at = user;
    }
    const ir_node *conv = &c->nodes[user], *norm = NULL;
    uint32_t n = conv->out.c;
    size_t rows = conv->weight_count / n;
    for (uint32_t i = user + 1; i < c->node_count; i++)
        if (c->nodes[i].op == MODEL_AFFINE && c->nodes[i].inputs[0] == user && c->nodes[i].bn_mean)
            norm = &c->nodes[i];
    double top = 0, bottom = 0, squares = 0;
    bool fresh = true;
    for (uint32_t k = 0; k < n; k++) {
        double gain = 0, b = conv->bias ? conv->bias[k] : 0;
        for (size_t r = 0; r < rows; r++) {
            double w = conv->weight[r * n + k];
            gain += w;
            squares += w * w;
        }
        if (norm) {
            top += gain * (norm->bn_mean[k] - b);
            bottom += gain * gain;
            fresh = fresh && norm->bn_mean[k] == 0;
        }
    }
    bool warn;
    if (norm && !fresh && bottom > 0)
        warn = fabs(top / bottom) < 30;
    else
        warn = 128 * sqrt(squares / n) > 20;
    if (warn)
        import_warn(c,
                    "nothing in the model scales the photograph's 0..255, and layer '%s' looks as "
                    "if something should: if it was trained on scaled pictures, its answers are wrong; say how "
                    "they were scaled: `dermis convert IN OUT.gguf --preprocess 0..1` (or -1..1, caffe, torch; "
                    "none where they were not)",
                    conv->name);
    return DERMIS_OK;
}
