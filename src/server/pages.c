/* pages.c - pages that stand by themselves: home, about, static files, the language switch. */
#include <stdlib.h>
#include <string.h>

#include "server/app.h"
#include "server/web.h"

/* ?notice=KEY after a redirect: only keys of texts that exist are shown. */
void page_add_notice(server_call *call, json_t *context)
{
    char key[64];
    const char *asked = http_request_query(call->request, "notice");
    if (!asked || strspn(asked, "abcdefghijklmnopqrstuvwxyz_") != strlen(asked) || strlen(asked) > 40)
        return;
    snprintf(key, sizeof key, "server.%s", asked);
    const char *text = call_text(call, key);
    const char *name = strstr(text, "{name}");
    char line[400];
    if (name)
        snprintf(line, sizeof line, "%.*s%s%s", (int)(name - text), text, call->signed_in ? call->user.name : "",
                 name + 6);
    else
        snprintf(line, sizeof line, "%s", text);
    if (*line)
        json_object_set_new(context, "notice", json_string(line));
}

void page_home(server_call *call)
{
    json_t *context = page_context(call, "home");
    json_object_set_new(context, "keeps", json_boolean(call->signed_in && call->user.keeps));
    page_add_notice(call, context);
    answer_page(call, 200, "home", context);
}

void page_about(server_call *call)
{
    static const char *const parts[] = {"purpose", "data", "figures", "limits", "fairness", "intended", "evaluation"};
    server_about *about = models_about(call->app->models);
    json_t *context = page_context(call, "about"), *card = json_array();
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        const char *text = dermis_card_about(about->card, parts[i], call->language);
        if (text)
            json_array_append_new(card, json_pack("{s:s, s:s}", "heading", parts[i], "text", text));
    }
    const char *attribution = dermis_card_about(about->card, "attribution", call->language);
    const char *license = dermis_card_about(about->card, "license", call->language);
    json_object_set_new(context, "card", card);
    json_object_set_new(context, "license", json_string(license ? license : about->license));
    json_object_set_new(context, "attribution", json_string(attribution ? attribution : ""));
    json_object_set_new(context, "version", json_string(dermis_version()));
    about_release(about);
    answer_page(call, 200, "about", context);
}

void page_language(server_call *call)
{
    const char *next = http_request_query(call->request, "next");
    const char *language = strcmp(call->parts[0], "vi") == 0   ? "vi"
                           : strcmp(call->parts[0], "en") == 0 ? "en"
                                                               : NULL;
    if (!language) {
        answer_error(call, 404, "nothing", NULL);
        return;
    }
    answer_redirect(call, next && call_local_path(next) ? next : "/");
    call_cookie(call, "dermis_language", language, 31536000, true);
}

static const char *content_type(const char *path)
{
    static const char *const types[][2] = {{".css", "text/css; charset=utf-8"},
                                           {".js", "text/javascript; charset=utf-8"},
                                           {".svg", "image/svg+xml"},
                                           {".json", "application/json"}};
    const char *dot = strrchr(path, '.');
    for (size_t i = 0; dot && i < sizeof types / sizeof *types; i++)
        if (strcmp(dot, types[i][0]) == 0)
            return types[i][1];
    return "application/octet-stream";
}

static void send_file(server_call *call, const char *path)
{
    const server_web_file *file = server_web_find(path);
    if (!file) {
        answer_error(call, 404, "nothing", NULL);
        return;
    }
    char etag[24];
    snprintf(etag, sizeof etag, "\"%s\"", file->hash);
    const char *known = http_request_header(call->request, "If-None-Match");
    const char *version = http_request_query(call->request, "v");
    bool same = known && strstr(known, etag);
    http_answer_init(&call->answer, same ? 304 : 200, content_type(path));
    if (!same) {
        call->answer.fixed = file->data;
        call->answer.size = file->size;
    }
    http_answer_header(&call->answer, "ETag", etag);
    http_answer_header(&call->answer, "Cache-Control", version && strcmp(version, call->app->web_hash) == 0
                                                           ? "public, max-age=31536000, immutable"
                                                           : "no-cache");
    call->answered = true;
}

void page_static(server_call *call)
{
    char path[160];
    snprintf(path, sizeof path, "static/%s", call->parts[0]);
    send_file(call, path);
}

void page_icon(server_call *call)
{
    send_file(call, "static/icon.svg");
}

void api_openapi(server_call *call)
{
    send_file(call, "openapi.json");
}

void page_robots(server_call *call)
{
    static const char text[] = "User-agent: *\nAllow: /$\nAllow: /about/\nDisallow: /\n";
    http_answer_init(&call->answer, 200, "text/plain; charset=utf-8");
    call->answer.fixed = text;
    call->answer.size = sizeof text - 1;
    call->answered = true;
}
