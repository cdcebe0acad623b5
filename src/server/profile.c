/* profile.c - an account's page: history, comparison, deletion, tokens, password. */
#include <string.h>

#include "server/app.h"

#define PER_PAGE 24

/* ---- the page ---- */

typedef struct listing {
    server_call *call;
    json_t *list;
} listing;

static bool add_entry(void *context, const store_result *r)
{
    listing *l = context;
    json_array_append_new(l->list, result_entry(l->call, r));
    return true;
}

static bool enough(void *context, const store_result *r)
{
    (void)context;
    (void)r;
    return false; /* only the number is wanted */
}

static bool add_token(void *context, const store_token *token)
{
    listing *l = context;
    char created[64], used[64] = "";
    call_time(l->call, token->created, created, sizeof created);
    if (token->used)
        call_time(l->call, token->used, used, sizeof used);
    json_array_append_new(l->list, json_pack("{s:I, s:s, s:s, s:s}", "id", (json_int_t)token->id, "label", token->label,
                                             "created", created, "used", used));
    return true;
}

static json_t *filter_context(server_call *call, const char *text, const char *chosen)
{
    server_about *about = models_about(call->app->models);
    json_t *classes = json_array();
    for (uint32_t i = 0; i < about->class_count && i < 1000; i++) {
        const char *name = dermis_card_name(about->card, i, call->language);
        json_array_append_new(classes, json_pack("{s:s, s:s, s:b}", "code", about->classes[i], "name",
                                                 name ? name : about->classes[i], "selected",
                                                 strcmp(about->classes[i], chosen) == 0));
    }
    about_release(about);
    return json_pack("{s:s, s:o, s:b}", "text", text, "classes", classes, "active", *text || *chosen);
}

static void page_address(const char *text, const char *class, unsigned page, char *out, size_t size)
{
    char t[1300], c[300];
    url_encode(text, t, sizeof t);
    url_encode(class, c, sizeof c);
    snprintf(out, size, "/profile/?text=%s&class=%s&page=%u", t, c, page);
}

/* Shows the page; `problem`: key of a text, or NULL; `token`: a new token, shown this once. */
static void show(server_call *call, int status, const char *problem, const char *token)
{
    const char *text = http_request_query(call->request, "text"), *class = http_request_query(call->request, "class");
    const char *page_text = http_request_query(call->request, "page");
    unsigned page = 1, total = 0, kept = 0;
    if (page_text && strlen(page_text) < 7 && strspn(page_text, "0123456789") == strlen(page_text))
        sscanf(page_text, "%u", &page);
    page = page ? page : 1;
    text = text && strlen(text) <= 400 ? text : "";
    class = class && strlen(class) <= 64 ? class : "";
    listing results = {call, json_array()}, tokens = {call, json_array()};
    store_filter filter = {.top = *class ? class : NULL,
                           .text = *text ? text : NULL,
                           .now = app_now(),
                           .offset = (page - 1) * PER_PAGE,
                           .limit = PER_PAGE};
    dermis_error err;
    dermis_status failed = store_result_list(call->app->store, call->user.id, &filter, add_entry, &results, &total, &err);
    filter.kept = true;
    if (!failed)
        failed = store_result_list(call->app->store, call->user.id, &filter, enough, NULL, &kept, &err);
    if (!failed)
        failed = store_token_list(call->app->store, call->user.id, add_token, &tokens, &err);
    if (failed) {
        json_decref(results.list);
        json_decref(tokens.list);
        answer_failure(call, &err);
        return;
    }
    json_t *context = page_context(call, "profile");
    char address[1800];
    if (page > 1) {
        page_address(text, class, page - 1, address, sizeof address);
        json_object_set_new(context, "previous", json_string(address));
    }
    if (page * PER_PAGE < total) {
        page_address(text, class, page + 1, address, sizeof address);
        json_object_set_new(context, "next_page", json_string(address));
    }
    json_object_set_new(context, "results", results.list);
    json_object_set_new(context, "kept", json_integer(kept));
    json_object_set_new(context, "unkept", json_integer((json_int_t)total - kept));
    json_object_set_new(context, "filter", filter_context(call, text, class));
    json_object_set_new(context, "filter_shown", json_boolean(total || *text || *class));
    json_object_set_new(context, "tokens", tokens.list);
    if (token)
        json_object_set_new(context, "new_token", json_string(token));
    page_add_notice(call, context);
    if (problem) {
        char key[64];
        snprintf(key, sizeof key, "server.%s", problem);
        json_object_set_new(context, "problem", json_string(call_text(call, key)));
    }
    answer_page(call, status, "profile", context);
}

void profile_page(server_call *call)
{
    show(call, 200, NULL, NULL);
}

/* ---- two entries side by side: ?a=ID&b=ID, or pick=ID twice ---- */

void profile_compare(server_call *call)
{
    const char *ids[2] = {http_request_query(call->request, "a"), http_request_query(call->request, "b")};
    for (unsigned i = 0; i < 2; i++)
        if (!ids[i])
            ids[i] = http_request_query_at(call->request, "pick", i);
    if (!ids[0] || !ids[1] || http_request_query_at(call->request, "pick", 2)) {
        show(call, 400, "pick_two", NULL);
        return;
    }
    json_t *pair = json_array();
    for (unsigned i = 0; i < 2; i++) {
        store_result r;
        snprintf(call->parts[0], sizeof call->parts[0], "%s", strlen(ids[i]) == STORE_ID_CHARS ? ids[i] : "");
        if (!result_open(call, &r)) {
            json_decref(pair);
            return;
        }
        bool own = result_may_edit(call, &r);
        if (own)
            json_array_append_new(pair, result_context(call, &r, -1, "jet", 40));
        store_result_release(&r);
        if (!own) {
            json_decref(pair);
            answer_error(call, 404, "not_found", NULL);
            return;
        }
    }
    json_t *context = page_context(call, "compare");
    json_object_set_new(context, "pair", pair);
    answer_page(call, 200, "compare", context);
}

/* ---- forms ---- */

/* Whether the form's field `password` is the account's. False: answered. */
static bool confirmed(server_call *call)
{
    char password[512] = "";
    http_form_text(&call->form, "password", password, sizeof password);
    double now = base_now_ms();
    unsigned wait = limits_try(call->app->limits, "confirm", call->user.name, now);
    bool right = !wait && auth_verify(&call->user, password);
    explicit_bzero(password, sizeof password);
    if (wait) {
        call->retry_s = wait;
        answer_error(call, 429, "too_many_tries", NULL);
        return false;
    }
    limits_tried(call->app->limits, "confirm", call->user.name, right, now);
    if (!right)
        show(call, 403, "wrong_password", NULL);
    return right;
}

static void after(server_call *call, dermis_status status, const dermis_error *err, const char *notice)
{
    char location[100];
    snprintf(location, sizeof location, "/profile/?notice=%s", notice);
    if (status == DERMIS_OK)
        answer_redirect(call, location);
    else
        answer_failure(call, err);
}

void profile_delete(server_call *call)
{
    store_result r;
    dermis_error err;
    char id[64] = "";
    http_form_text(&call->form, "id", id, sizeof id);
    snprintf(call->parts[0], sizeof call->parts[0], "%s", id);
    if (!result_open(call, &r))
        return;
    bool own = result_may_edit(call, &r);
    store_result_release(&r);
    if (!own)
        answer_error(call, 404, "not_found", NULL);
    else
        after(call, store_result_delete(call->app->store, id, &err), &err, "deleted");
}

void profile_delete_all(server_call *call)
{
    dermis_error err;
    if (confirmed(call))
        after(call, store_result_delete_all(call->app->store, call->user.id, &err), &err, "deleted_all");
}

void profile_password(server_call *call)
{
    char new[512] = "", again[512] = "", hash[128];
    dermis_error err;
    if (!confirmed(call))
        return;
    const char *problem = !http_form_text(&call->form, "new", new, sizeof new) ? "password_long" : NULL;
    http_form_text(&call->form, "new_again", again, sizeof again);
    if (!problem)
        problem = auth_password_problem(call->user.name, new);
    if (!problem && strcmp(new, again) != 0)
        problem = "passwords_differ";
    if (problem) {
        show(call, 400, problem, NULL);
    } else {
        dermis_status status = auth_hash_password(new, hash, &err);
        if (status == DERMIS_OK)
            status = store_user_set_password(call->app->store, call->user.id, hash, call->session, &err);
        after(call, status, &err, "password_changed");
    }
    explicit_bzero(new, sizeof new);
    explicit_bzero(again, sizeof again);
}

void profile_delete_account(server_call *call)
{
    dermis_error err;
    if (!confirmed(call))
        return;
    if (store_user_delete(call->app->store, call->user.id, &err) != DERMIS_OK) {
        answer_failure(call, &err);
        return;
    }
    auth_end_session(call, "/?notice=account_deleted"); /* it went with the account */
}

void profile_token(server_call *call)
{
    char label[81] = "", secret[SECRET_CHARS + 1];
    uint8_t hash[STORE_HASH_BYTES];
    int64_t id;
    dermis_error err;
    if (!http_form_text(&call->form, "label", label, sizeof label) || !*label) {
        show(call, 400, "label_needed", NULL);
        return;
    }
    auth_random(secret, 32);
    auth_hash(secret, hash);
    dermis_status status = store_token_add(call->app->store, hash, call->user.id, label, app_now(), &id, &err);
    if (status == DERMIS_E_USAGE)
        show(call, 400, "token_limit", NULL);
    else if (status != DERMIS_OK)
        answer_failure(call, &err);
    else
        show(call, 200, NULL, secret);
    explicit_bzero(secret, sizeof secret);
}

void profile_token_revoke(server_call *call)
{
    char id[24] = "";
    long long number = 0;
    dermis_error err;
    http_form_text(&call->form, "id", id, sizeof id);
    if (strspn(id, "0123456789") == strlen(id) && strlen(id) < 19)
        sscanf(id, "%lld", &number);
    after(call, store_token_delete(call->app->store, call->user.id, number, &err), &err, "token_revoked");
}
