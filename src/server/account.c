/* account.c - sign-up, log-in, log-out. Password lane where a password is hashed. */
#include <string.h>

#include "server/app.h"

static void show(server_call *call, const char *page, int status, const char *problem, unsigned wait)
{
    char next[600] = "", encoded[2000], name[STORE_NAME_BYTES] = "";
    const char *asked = http_request_query(call->request, "next");
    if (call->form_read) {
        http_form_text(&call->form, "next", next, sizeof next);
        http_form_text(&call->form, "name", name, sizeof name);
    } else if (asked) {
        snprintf(next, sizeof next, "%s", strlen(asked) < sizeof next ? asked : "");
    }
    json_t *context = page_context(call, page);
    if (!call_local_path(next))
        *next = 0;
    url_encode(next, encoded, sizeof encoded);
    json_object_set_new(context, "next", json_string(next));
    json_object_set_new(context, "next_encoded", json_string(encoded)); /* so that log-in and sign-up hand it on */
    json_object_set_new(context, "name", json_string(name));
    if (wait)
        json_object_set_new(context, "seconds", json_integer(wait));
    if (problem) {
        char key[64], text[400];
        snprintf(key, sizeof key, "server.%s", problem);
        const char *found = call_text(call, key), *seconds = strstr(found, "{seconds}");
        if (seconds)
            snprintf(text, sizeof text, "%.*s%u%s", (int)(seconds - found), found, wait, seconds + 9);
        else
            snprintf(text, sizeof text, "%s", found);
        json_object_set_new(context, "problem", json_string(text));
    }
    page_add_notice(call, context);
    call->retry_s = wait;
    answer_page(call, status, page, context);
    if (wait) {
        char seconds[16];
        snprintf(seconds, sizeof seconds, "%u", wait);
        http_answer_header(&call->answer, "Retry-After", seconds);
    }
}

static void go_on(server_call *call, const char *standard)
{
    char next[600] = "";
    http_form_text(&call->form, "next", next, sizeof next);
    answer_redirect(call, call_local_path(next) ? next : standard);
}

void account_login(server_call *call)
{
    show(call, "login", 200, NULL, 0);
}

void account_login_post(server_call *call)
{
    char name[STORE_NAME_BYTES] = "", password[512] = "";
    store_user user;
    dermis_error err;
    /* what cannot be a name or password takes the same way as a wrong one */
    if (!http_form_text(&call->form, "name", name, sizeof name) ||
        !http_form_text(&call->form, "password", password, sizeof password)) {
        *name = *password = 0;
    }
    int wait = 0;
    dermis_status status = auth_log_in(call, name, password, &user, &wait, &err);
    explicit_bzero(password, sizeof password);
    if (status != DERMIS_OK) {
        answer_failure(call, &err);
        return;
    }
    if (wait) {
        show(call, "login", wait > 0 ? 429 : 401, wait > 0 ? "too_many_tries" : "wrong_login", wait > 0 ? (unsigned)wait : 0);
        return;
    }
    go_on(call, "/");
    if (auth_begin_session(call, &user, &err) != DERMIS_OK) {
        answer_failure(call, &err);
        return;
    }
}

void account_signup(server_call *call)
{
    bool open = call->app->settings.signup == SERVER_SIGNUP_OPEN;
    show(call, "signup", open ? 200 : 403, open ? NULL : "signup_closed", 0);
}

void account_signup_post(server_call *call)
{
    char name[STORE_NAME_BYTES] = "", password[512] = "", again[512] = "", hash[128];
    dermis_error err;
    store_user user;
    int64_t id;
    if (call->app->settings.signup != SERVER_SIGNUP_OPEN) {
        show(call, "signup", 403, "signup_closed", 0);
        return;
    }
    const char *problem = !http_form_text(&call->form, "name", name, sizeof name) ? "name_unusable"
                          : !http_form_text(&call->form, "password", password, sizeof password) ? "password_long"
                                                                                                : NULL;
    http_form_text(&call->form, "password_again", again, sizeof again);
    if (!problem)
        problem = auth_name_problem(name);
    if (!problem)
        problem = auth_password_problem(name, password);
    if (!problem && strcmp(password, again) != 0)
        problem = "passwords_differ";
    if (problem) {
        show(call, "signup", 400, problem, 0);
        goto out;
    }
    char key[96], address[LIMITS_ADDRESS_BYTES];
    limits_address(auth_address(call), address);
    snprintf(key, sizeof key, "signup %s", address);
    unsigned wait = limits_take(call->app->limits, key, strlen(key), 10, base_now_ms());
    if (wait) {
        show(call, "signup", 429, "too_many_tries", wait);
        goto out;
    }
    dermis_status status = auth_hash_password(password, hash, &err);
    if (status == DERMIS_OK)
        status = store_user_add(call->app->store, name, hash, false, app_now(), &id, &err);
    if (status == DERMIS_E_EXISTS) {
        show(call, "signup", 409, "name_taken", 0);
        goto out;
    }
    if (status == DERMIS_OK)
        status = store_user_by_id(call->app->store, id, &user, &err);
    if (status == DERMIS_OK) {
        go_on(call, "/?notice=welcome");
        status = auth_begin_session(call, &user, &err);
    }
    if (status != DERMIS_OK)
        answer_failure(call, &err);
out:
    explicit_bzero(password, sizeof password);
    explicit_bzero(again, sizeof again);
}

void account_logout(server_call *call)
{
    show(call, "logout", 200, NULL, 0);
}

void account_logout_post(server_call *call)
{
    char everywhere[8] = "";
    dermis_error err;
    http_form_text(&call->form, "everywhere", everywhere, sizeof everywhere);
    bool all = strcmp(everywhere, "1") == 0;
    if (call->signed_in && all &&
        store_session_delete_all(call->app->store, call->user.id, NULL, &err) != DERMIS_OK) {
        answer_failure(call, &err);
        return;
    }
    const char *location = all ? "/?notice=sessions_ended" : "/?notice=logged_out";
    if (call->signed_in)
        auth_end_session(call, location);
    else
        answer_redirect(call, location);
}
