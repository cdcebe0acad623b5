/* routes.c - the table of routes, and finding the one of a path. */
#include <string.h>

#include "server/app.h"

const server_route server_routes[] = {
    /* pages */
    {HTTP_GET, "/", page_home, LANE_PAGE, BODY_NONE, 0},
    {HTTP_GET, "/about/", page_about, LANE_PAGE, BODY_NONE, 0},
    {HTTP_GET, "/language/*", page_language, LANE_PAGE, BODY_NONE, 0},
    {HTTP_GET, "/static/*", page_static, LANE_EVENT, BODY_NONE, ROUTE_PUBLIC},
    {HTTP_GET, "/favicon.ico", page_icon, LANE_EVENT, BODY_NONE, ROUTE_PUBLIC},
    {HTTP_GET, "/robots.txt", page_robots, LANE_EVENT, BODY_NONE, ROUTE_PUBLIC},
    {HTTP_POST, "/upload/", upload_post, LANE_PICTURE, BODY_PICTURE, ROUTE_POSTED | ROUTE_RATE},
    /* one result */
    {HTTP_GET, "/result/*/", result_page, LANE_PAGE, BODY_NONE, 0},
    {HTTP_GET, "/result/*/photo.jpg", result_photo, LANE_PAGE, BODY_NONE, 0},
    {HTTP_GET, "/result/*/thumb.jpg", result_thumb, LANE_PAGE, BODY_NONE, 0},
    {HTTP_GET, "/result/*/heat.png", result_heat, LANE_PAGE, BODY_NONE, 0},
    {HTTP_GET, "/result/*/overlay.png", result_overlay, LANE_PICTURE, BODY_NONE, 0},
    {HTTP_POST, "/result/*/keep", result_keep, LANE_PAGE, BODY_FORM, ROUTE_POSTED | ROUTE_USER},
    {HTTP_POST, "/result/*/delete", result_delete, LANE_PAGE, BODY_FORM, ROUTE_POSTED},
    {HTTP_POST, "/result/*/share", result_share, LANE_PAGE, BODY_FORM, ROUTE_POSTED | ROUTE_USER},
    {HTTP_POST, "/result/*/notes", result_notes, LANE_PAGE, BODY_FORM, ROUTE_POSTED},
    /* accounts */
    {HTTP_GET, "/login/", account_login, LANE_PAGE, BODY_NONE, 0},
    {HTTP_POST, "/login/", account_login_post, LANE_PASSWORD, BODY_FORM, ROUTE_POSTED},
    {HTTP_GET, "/signup/", account_signup, LANE_PAGE, BODY_NONE, 0},
    {HTTP_POST, "/signup/", account_signup_post, LANE_PASSWORD, BODY_FORM, ROUTE_POSTED},
    {HTTP_GET, "/logout", account_logout, LANE_PAGE, BODY_NONE, 0},
    {HTTP_POST, "/logout", account_logout_post, LANE_PAGE, BODY_FORM, ROUTE_POSTED},
    {HTTP_GET, "/logout/", account_logout, LANE_PAGE, BODY_NONE, 0},
    {HTTP_POST, "/logout/", account_logout_post, LANE_PAGE, BODY_FORM, ROUTE_POSTED},
    {HTTP_GET, "/profile/", profile_page, LANE_PAGE, BODY_NONE, ROUTE_USER},
    {HTTP_GET, "/profile/compare/", profile_compare, LANE_PAGE, BODY_NONE, ROUTE_USER},
    {HTTP_POST, "/profile/delete", profile_delete, LANE_PAGE, BODY_FORM, ROUTE_POSTED | ROUTE_USER},
    {HTTP_POST, "/profile/delete-all", profile_delete_all, LANE_PASSWORD, BODY_FORM, ROUTE_POSTED | ROUTE_USER},
    {HTTP_POST, "/profile/export", profile_export, LANE_EXPORT, BODY_FORM, ROUTE_POSTED | ROUTE_USER},
    {HTTP_POST, "/profile/password", profile_password, LANE_PASSWORD, BODY_FORM, ROUTE_POSTED | ROUTE_USER},
    {HTTP_POST, "/profile/delete-account", profile_delete_account, LANE_PASSWORD, BODY_FORM,
     ROUTE_POSTED | ROUTE_USER},
    {HTTP_POST, "/profile/tokens", profile_token, LANE_PAGE, BODY_FORM, ROUTE_POSTED | ROUTE_USER},
    {HTTP_POST, "/profile/tokens/revoke", profile_token_revoke, LANE_PAGE, BODY_FORM, ROUTE_POSTED | ROUTE_USER},
    /* the operator's */
    {HTTP_GET, "/status/", status_page, LANE_PAGE, BODY_NONE, ROUTE_OPERATOR},
    {HTTP_GET, "/status/data", status_data, LANE_PAGE, BODY_NONE, ROUTE_OPERATOR},
    {HTTP_GET, "/health/", health_old, LANE_EVENT, BODY_NONE, ROUTE_PUBLIC | ROUTE_ANY_HOST},
    {HTTP_GET, "/health", health_old, LANE_EVENT, BODY_NONE, ROUTE_PUBLIC | ROUTE_ANY_HOST},
    {HTTP_GET, "/health/live", health_live, LANE_EVENT, BODY_NONE, ROUTE_PUBLIC | ROUTE_ANY_HOST},
    {HTTP_GET, "/health/ready", health_ready, LANE_EVENT, BODY_NONE, ROUTE_PUBLIC | ROUTE_ANY_HOST},
    {HTTP_GET, "/memory/", memory_old, LANE_EVENT, BODY_NONE, ROUTE_PUBLIC},
    {HTTP_GET, "/metrics", metrics_text, LANE_PAGE, BODY_NONE, ROUTE_API | ROUTE_SESSION},
    /* the API */
    {HTTP_POST, "/api/v1/predict", api_predict, LANE_PICTURE, BODY_PICTURE, ROUTE_API | ROUTE_RATE},
    {HTTP_GET, "/api/v1/model", api_model, LANE_PAGE, BODY_NONE, ROUTE_API},
    {HTTP_GET, "/api/v1/results", api_results, LANE_PAGE, BODY_NONE, ROUTE_API | ROUTE_USER},
    {HTTP_GET, "/api/v1/results/*", api_result, LANE_PAGE, BODY_NONE, ROUTE_API},
    {HTTP_DELETE, "/api/v1/results/*", api_result_delete, LANE_PAGE, BODY_NONE, ROUTE_API | ROUTE_USER},
    {HTTP_GET, "/api/v1/results/*/overlay.png", api_overlay, LANE_PICTURE, BODY_NONE, ROUTE_API},
    {HTTP_GET, "/api/openapi.json", api_openapi, LANE_EVENT, BODY_NONE, ROUTE_PUBLIC},
    /* Open Inference Protocol */
    {HTTP_GET, "/v2", v2_server, LANE_EVENT, BODY_NONE, ROUTE_V2 | ROUTE_PUBLIC},
    {HTTP_GET, "/v2/health/live", v2_live, LANE_EVENT, BODY_NONE, ROUTE_V2 | ROUTE_PUBLIC | ROUTE_ANY_HOST},
    {HTTP_GET, "/v2/health/ready", v2_ready, LANE_EVENT, BODY_NONE, ROUTE_V2 | ROUTE_PUBLIC | ROUTE_ANY_HOST},
    {HTTP_GET, "/v2/models/*", v2_model, LANE_PAGE, BODY_NONE, ROUTE_V2 | ROUTE_API},
    {HTTP_GET, "/v2/models/*/ready", v2_model_ready, LANE_PAGE, BODY_NONE, ROUTE_V2 | ROUTE_API},
    {HTTP_POST, "/v2/models/*/infer", v2_infer, LANE_PICTURE, BODY_TENSOR, ROUTE_V2 | ROUTE_API | ROUTE_RATE},
    {HTTP_GET, "/v2/models/*/versions/*", v2_model, LANE_PAGE, BODY_NONE, ROUTE_V2 | ROUTE_API},
    {HTTP_GET, "/v2/models/*/versions/*/ready", v2_model_ready, LANE_PAGE, BODY_NONE, ROUTE_V2 | ROUTE_API},
    {HTTP_POST, "/v2/models/*/versions/*/infer", v2_infer, LANE_PICTURE, BODY_TENSOR,
     ROUTE_V2 | ROUTE_API | ROUTE_RATE},
};
const unsigned server_route_count = sizeof server_routes / sizeof *server_routes;
_Static_assert(sizeof server_routes / sizeof *server_routes <= METRICS_MAX_ROUTES, "rows of metrics");

/* Whether the path is of this pattern; what its stars stand for goes into parts. */
static bool matches(const char *pattern, const char *path, char parts[CALL_PARTS][128])
{
    unsigned star = 0;
    while (*pattern) {
        if (*pattern == '*') {
            size_t n = strcspn(path, "/");
            if (n == 0 || n >= sizeof parts[0] || star == CALL_PARTS)
                return false;
            memcpy(parts[star], path, n);
            parts[star++][n] = 0;
            path += n;
            pattern++;
        } else if (*pattern++ != *path++) {
            return false;
        }
    }
    return *path == 0;
}

const server_route *route_find(http_method method, const char *path, server_call *call, unsigned *methods)
{
    char parts[CALL_PARTS][128] = {"", ""};
    *methods = 0;
    for (unsigned i = 0; i < server_route_count; i++) {
        if (!matches(server_routes[i].pattern, path, parts))
            continue;
        *methods |= 1u << server_routes[i].method;
        if (server_routes[i].method == method) {
            memcpy(call->parts, parts, sizeof call->parts);
            return &server_routes[i];
        }
    }
    return NULL;
}
