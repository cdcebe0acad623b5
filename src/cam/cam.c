/* cam.c - Grad-CAM from the activations and gradients that nn gives. Sums run in double: channels
 * number in the thousands and their terms cancel. */
#include "cam/cam.h"

#include <math.h>
#include <string.h>

/* weights[c] = mean over pixels of gradient[.][c]; rows of channels are added so that the compiler
 * vectorises over c. */
static void channel_means(const float *gradient, size_t pixels, size_t c, float *weights)
{
    memset(weights, 0, c * sizeof *weights);
    for (size_t p = 0; p < pixels; p++)
        for (size_t k = 0; k < c; k++)
            weights[k] += gradient[p * c + k];
    for (size_t k = 0; k < c; k++)
        weights[k] /= (float)pixels;
}

static float weighted_sum(const float *z, const float *shift, const float *weights, size_t c)
{
    double lanes[8] = {0};
    size_t k = 0;
    for (; k + 8 <= c; k += 8)
        for (size_t i = 0; i < 8; i++)
            lanes[i] += (double)weights[k + i] * (shift ? z[k + i] - shift[k + i] : z[k + i]);
    for (; k < c; k++)
        lanes[0] += (double)weights[k] * (shift ? z[k] - shift[k] : z[k]);
    return (float)(((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) +
                   ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7])));
}

static float maximum(const float *map, size_t n)
{
    float most = 0;
    for (size_t i = 0; i < n; i++)
        most = map[i] > most ? map[i] : most;
    return most;
}

void cam_grad_cam(nn_session *session, uint32_t index, nn_score score, bool flip, float *weights,
                  float *map, cam_result *out)
{
    const float *gradient = nn_backward(session, index, score, flip);
    nn_target target;
    nn_session_target(session, &target);
    size_t pixels = (size_t)target.shape.h * target.shape.w, c = target.shape.c;
    *out = (cam_result){target.shape.h, target.shape.w, false};
    if (!gradient) { /* the score does not depend on the layer */
        memset(map, 0, pixels * sizeof *map);
        out->blank = true;
        return;
    }
    channel_means(gradient, pixels, c, weights);
    for (size_t p = 0; p < pixels; p++)
        map[p] = weighted_sum(target.z + p * c, target.shift, weights, c);
    float most = maximum(map, pixels);
    for (size_t p = 0; p < pixels; p++)
        map[p] = most > 0 ? fmaxf(map[p], 0) : fabsf(map[p]);
    most = maximum(map, pixels);
    out->blank = !(most > 0);
    for (size_t p = 0; p < pixels; p++)
        map[p] = out->blank ? 0 : map[p] / most;
}
