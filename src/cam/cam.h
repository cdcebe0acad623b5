/* cam.h - class activation maps from the activations and gradients that nn gives. */
#ifndef CAM_CAM_H
#define CAM_CAM_H

#include "nn/nn.h"

typedef struct cam_result {
    uint32_t height, width;
    bool blank; /* nothing moved the score: the map is all zeros */
} cam_result;

/* Grad-CAM (Selvaraju et al. 2017, arXiv:1610.02391): after nn_run, the map of output `index` into
 * `map` [shape.h][shape.w], 0..1:
 *   a_c = mean over h, w of d score / d z_c;  m = sum over c of a_c (z_c - t_c);
 *   ReLU(m), or |m| where that is all zero, divided by its maximum; all zero: zeros and blank.
 * `weights` is caller's scratch of shape.c floats. Does not allocate. */
void cam_grad_cam(nn_session *session, uint32_t index, nn_score score, bool flip, float *weights,
                  float *map, cam_result *out);

#endif
