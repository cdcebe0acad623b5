/* auth.c - who asks: sessions, API tokens, guests; form tokens; log-in with its limits; passwords.
 * Secrets are random and only their hashes are stored. Called by lane threads. */
#include <arpa/inet.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "server/app.h"
#include "server/web.h"

#define PASSWORD_MEMORY ((size_t)12 << 20)
#define PASSWORD_PASSES 3
#define PASSWORD_LEAST  10
#define PASSWORD_MOST   256
#define GUEST_BYTES     16

void auth_random(char *out, size_t bytes)
{
    uint8_t raw[64];
    randombytes_buf(raw, bytes);
    sodium_bin2base64(out, sodium_base64_encoded_len(bytes, sodium_base64_VARIANT_URLSAFE_NO_PADDING), raw,
                      bytes, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    sodium_memzero(raw, sizeof raw);
}

void auth_hash(const char *secret, uint8_t out[STORE_HASH_BYTES])
{
    crypto_generichash(out, STORE_HASH_BYTES, (const unsigned char *)secret, strlen(secret), NULL, 0);
}

static bool base64url(const char *text, size_t length)
{
    return strlen(text) == length &&
           strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") == length;
}

/* ---- the client's address and whether it came by TLS; proxies are believed if they are named ---- */

static bool listed(const char *list, const char *item)
{
    size_t n = strlen(item);
    for (const char *c = list; *c;) {
        c += strspn(c, ", ");
        size_t length = strcspn(c, ", ");
        if ((length == n && strncasecmp(c, item, n) == 0) || (length == 1 && *c == '*'))
            return true;
        c += length;
    }
    return false;
}

static bool through_proxy(const server_call *call)
{
    return listed(call->app->settings.trusted_proxies, http_request_address(call->request));
}

const char *auth_address(const server_call *call)
{
    static _Thread_local char address[64];
    const char *direct = http_request_address(call->request);
    const char *forwarded = through_proxy(call) ? http_request_header_last(call->request, "X-Forwarded-For") : NULL;
    if (!forwarded)
        return direct;
    const char *last = strrchr(forwarded, ','); /* what the trusted proxy itself saw */
    last = last ? last + 1 : forwarded;
    last += strspn(last, " ");
    uint8_t binary[16];
    snprintf(address, sizeof address, "%.*s", (int)strcspn(last, " "), last);
    return inet_pton(AF_INET, address, binary) == 1 || inet_pton(AF_INET6, address, binary) == 1 ? address
                                                                                                : direct;
}

bool auth_secure(const server_call *call)
{
    const char *scheme = through_proxy(call) ? http_request_header_last(call->request, "X-Forwarded-Proto") : NULL;
    return http_request_secure(call->request) || (scheme && strcasecmp(scheme, "https") == 0);
}

/* ---- who ---- */

/* The first of en and vi that Accept-Language prefers; NULL: neither. */
static const char *browser_language(const char *header)
{
    const char *best = NULL;
    double best_q = 0;
    for (const char *c = header ? header : ""; *c;) {
        c += strspn(c, ", ");
        size_t n = strcspn(c, ",");
        const char *language = strncasecmp(c, "vi", 2) == 0   ? "vi"
                               : strncasecmp(c, "en", 2) == 0 ? "en"
                                                              : NULL;
        if (language && n > 2 && !strchr("-;, ", c[2]))
            language = NULL;
        const char *q = memmem(c, n, "q=", 2);
        double weight = q ? strtod(q + 2, NULL) : 1;
        if (language && weight > best_q) {
            best = language;
            best_q = weight;
        }
        c += n;
    }
    return best;
}

static void choose_language(server_call *call)
{
    static const char *const fixed[] = {"en", "en", "vi"};
    char cookie[8];
    const char *asked = http_request_query(call->request, "lang");
    const char *choice = NULL;
    if (asked)
        choice = browser_language(asked);
    if (!choice && http_request_cookie(call->request, "dermis_language", cookie, sizeof cookie))
        choice = browser_language(cookie);
    if (!choice && call->signed_in)
        choice = browser_language(call->user.language);
    if (!choice && call->app->settings.language == SERVER_LANGUAGE_AUTO)
        choice = browser_language(http_request_header(call->request, "Accept-Language"));
    call->language = choice ? choice : fixed[call->app->settings.language];
}

static bool identify_token(server_call *call)
{
    const char *header = http_request_header(call->request, "Authorization");
    if (!header)
        return true;
    uint8_t hash[STORE_HASH_BYTES];
    dermis_error err;
    dermis_status status = DERMIS_E_NOT_FOUND;
    if (strncasecmp(header, "Bearer ", 7) == 0 && strlen(header) < 200) {
        auth_hash(header + 7 + strspn(header + 7, " "), hash);
        status = store_token_find(call->app->store, hash, app_now(), &call->user, &call->token, &err);
    }
    call->signed_in = call->by_token = status == DERMIS_OK;
    if (status == DERMIS_E_NOT_FOUND) {
        answer_error(call, 401, "unauthorized", "this token is not known: make one on the profile page and "
                                                "send it as `Authorization: Bearer TOKEN`");
        http_answer_header(&call->answer, "WWW-Authenticate", "Bearer realm=\"dermis\"");
    } else if (status != DERMIS_OK) {
        answer_failure(call, &err);
    }
    return call->signed_in;
}

/* A guest is GUEST_BYTES of chance and as many that only this server can have added to them: whoever makes
 * cookies up has none, and no room of his own in the limits. */
static void sign_guest(const server_call *call, uint8_t guest[2 * GUEST_BYTES])
{
    crypto_generichash_state state;
    crypto_generichash_init(&state, call->app->secret, sizeof call->app->secret, GUEST_BYTES);
    crypto_generichash_update(&state, (const unsigned char *)"guest", 6);
    crypto_generichash_update(&state, guest, GUEST_BYTES);
    crypto_generichash_final(&state, guest + GUEST_BYTES, GUEST_BYTES);
}

static bool known_guest(const server_call *call, const char *cookie)
{
    uint8_t given[2 * GUEST_BYTES], right[2 * GUEST_BYTES];
    size_t size;
    if (sodium_base642bin(given, sizeof given, cookie, strlen(cookie), NULL, &size, NULL,
                          sodium_base64_VARIANT_URLSAFE_NO_PADDING) != 0 || size != sizeof given)
        return false;
    memcpy(right, given, GUEST_BYTES);
    sign_guest(call, right);
    return sodium_memcmp(given, right, sizeof given) == 0;
}

static void make_guest(server_call *call)
{
    uint8_t guest[2 * GUEST_BYTES];
    randombytes_buf(guest, GUEST_BYTES);
    sign_guest(call, guest);
    sodium_bin2base64(call->guest, sizeof call->guest, guest, sizeof guest, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    auth_hash(call->guest, call->guest_hash);
    call->guest_new = true;
}

bool auth_identify(server_call *call)
{
    const unsigned flags = call->route ? call->route->flags : ROUTE_PUBLIC;
    const bool by_token = flags & ROUTE_API &&
                          !(flags & ROUTE_SESSION && !http_request_header(call->request, "Authorization"));
    char cookie[SECRET_CHARS + 1];
    bool fine = true;
    if (!by_token && http_request_cookie(call->request, "dermis_guest", cookie, sizeof cookie) &&
        known_guest(call, cookie)) {
        snprintf(call->guest, sizeof call->guest, "%s", cookie);
        auth_hash(call->guest, call->guest_hash);
    }
    if (call->unknown) {
        choose_language(call);
        return true;
    }
    if (by_token) {
        choose_language(call);
        fine = identify_token(call);
    } else if (!(flags & ROUTE_PUBLIC) &&
               http_request_cookie(call->request, "dermis_session", cookie, sizeof cookie) &&
               base64url(cookie, SECRET_CHARS)) {
        dermis_error err;
        auth_hash(cookie, call->session);
        dermis_status status = store_session_find(call->app->store, call->session, app_now(), &call->user, &err);
        call->signed_in = status == DERMIS_OK;
        if (call->signed_in)
            memcpy(call->secret, cookie, sizeof call->secret);
        choose_language(call);
        if (status != DERMIS_OK && status != DERMIS_E_NOT_FOUND) { /* locked: do not serve as a guest */
            answer_failure(call, &err);
            fine = false;
        }
    }
    choose_language(call);
    return fine;
}

/* ---- tokens of forms ---- */

const char *auth_csrf(server_call *call)
{
    if (*call->csrf)
        return call->csrf;
    if (!call->signed_in && !*call->guest)
        make_guest(call);
    uint8_t mac[32];
    crypto_generichash_state state;
    crypto_generichash_init(&state, call->app->secret, sizeof call->app->secret, sizeof mac);
    const char *bound_to = call->signed_in ? call->secret : call->guest;
    crypto_generichash_update(&state, (const unsigned char *)"form", 5);
    crypto_generichash_update(&state, (const unsigned char *)bound_to, strlen(bound_to));
    crypto_generichash_final(&state, mac, sizeof mac);
    sodium_bin2base64(call->csrf, sizeof call->csrf, mac, sizeof mac,
                      sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    return call->csrf;
}

bool auth_check_csrf(server_call *call, bool always)
{
    char given[64] = "";
    if (!call->signed_in && !*call->guest) { /* no cookie: nobody's rights could be misused */
        if (!always)
            return true;
        answer_error(call, 403, "cookies_needed", NULL);
        return false;
    }
    if (!call_form(call))
        return false;
    const char *header = http_request_header(call->request, "X-CSRF-Token");
    if (header)
        snprintf(given, sizeof given, "%s", header);
    else
        http_form_text(&call->form, "csrf", given, sizeof given);
    const char *expected = auth_csrf(call);
    if (strlen(given) == strlen(expected) && sodium_memcmp(given, expected, strlen(expected)) == 0)
        return true;
    answer_error(call, 403, "form_expired", NULL);
    return false;
}

/* ---- passwords ---- */

dermis_status auth_hash_password(const char *password, char out[128], dermis_error *err)
{
    _Static_assert(crypto_pwhash_STRBYTES <= 128, "the hash as text");
    if (crypto_pwhash_str_alg(out, password, strlen(password), PASSWORD_PASSES, PASSWORD_MEMORY,
                              crypto_pwhash_ALG_ARGON2ID13) != 0)
        return base_fail(err, DERMIS_E_MEMORY, "not enough memory to hash a password (12 MiB)");
    return DERMIS_OK;
}

bool auth_verify(const store_user *user, const char *password)
{
    return crypto_pwhash_str_verify(user->password, password, strlen(password)) == 0;
}

/* A hash that no password has: a wrong name takes the time of a wrong password. */
static const char *decoy(void)
{
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    static char hash[128];
    pthread_mutex_lock(&mutex);
    if (!*hash) {
        char password[44];
        auth_random(password, 32);
        if (auth_hash_password(password, hash, NULL) != DERMIS_OK)
            *hash = 0;
    }
    pthread_mutex_unlock(&mutex);
    return hash;
}

dermis_status auth_log_in(server_call *call, const char *name, const char *password, store_user *out, int *wait,
                          dermis_error *err)
{
    server_limits *limits = call->app->limits;
    char address[LIMITS_ADDRESS_BYTES];
    double now = base_now_ms();
    limits_address(auth_address(call), address);
    *wait = (int)limits_try(limits, "address", address, now);
    if (*wait == 0)
        *wait = (int)limits_try(limits, "name", name, now);
    if (*wait)
        return DERMIS_OK;
    store_user user;
    const char *fake = decoy();
    dermis_status status = store_user_by_name(call->app->store, name, &user, err);
    if (status != DERMIS_OK && status != DERMIS_E_NOT_FOUND)
        return status; /* nothing is known of the password: no try */
    bool known = status == DERMIS_OK;
    if (!known)
        snprintf(user.password, sizeof user.password, "%s", fake);
    bool right = auth_verify(&user, password) && known;
    now = base_now_ms();
    limits_tried(limits, "name", name, right, now);
    if (right) { /* an account of one's own does not make the address innocent */
        *out = user;
        return DERMIS_OK;
    }
    limits_tried(limits, "address", address, false, now);
    *wait = -1;
    return DERMIS_OK;
}

dermis_status auth_begin_session(server_call *call, const store_user *user, dermis_error *err)
{
    int64_t now = app_now();
    if (call->signed_in) { /* the old session does not live on beside the new one */
        dermis_status ended = store_session_delete(call->app->store, call->session, err);
        if (ended != DERMIS_OK && ended != DERMIS_E_NOT_FOUND)
            return ended;
    }
    auth_random(call->secret, 32);
    auth_hash(call->secret, call->session);
    dermis_status status = store_session_add(call->app->store, call->session, user->id, now,
                                             now + call->app->settings.session_s, err);
    if (status != DERMIS_OK)
        return status;
    call->user = *user;
    call->signed_in = true;
    *call->csrf = 0;
    call_cookie(call, "dermis_session", call->secret, (long)call->app->settings.session_s, true);
    return DERMIS_OK;
}

void auth_end_session(server_call *call, const char *location)
{
    dermis_error err;
    dermis_status status = store_session_delete(call->app->store, call->session, &err);
    if (status != DERMIS_OK && status != DERMIS_E_NOT_FOUND) { /* it lives: nobody is told that it does not */
        answer_failure(call, &err);
        return;
    }
    answer_redirect(call, location);
    call_cookie(call, "dermis_session", "", 0, true);
    call->signed_in = false;
    *call->csrf = 0;
}

const char *auth_name_problem(const char *name)
{
    size_t n = strlen(name);
    if (n < 3 || n >= STORE_NAME_BYTES || *name == ' ' || name[n - 1] == ' ')
        return "name_unusable";
    for (size_t left = n; left;) {
        size_t length = base_utf8_next_printable(name, left);
        if (length == 0)
            return "name_unusable";
        name += length;
        left -= length;
    }
    return NULL;
}

/* Lines of web/passwords.txt: what others would try first. */
static bool common(const char *password)
{
    const server_web_file *file = server_web_find("passwords.txt");
    size_t n = strlen(password);
    for (const char *line = file ? (const char *)file->data : ""; *line;) {
        size_t length = strcspn(line, "\n");
        if (length == n && strncasecmp(line, password, n) == 0)
            return true;
        line += length + (line[length] == '\n');
    }
    return false;
}

/* Few different characters, or each the neighbour of the one before it (1234567890, abcdefghij). */
static bool simple(const char *password)
{
    bool seen[256] = {false};
    unsigned different = 0, steps = 0, n = 0;
    for (const unsigned char *c = (const unsigned char *)password; *c; c++, n++) {
        different += !seen[*c];
        seen[*c] = true;
        if (n)
            steps += c[0] == c[-1] + 1 || c[0] + 1 == c[-1] || (c[0] == '0' && c[-1] == '9');
    }
    return different < 4 || steps + 1 >= n;
}

const char *auth_password_problem(const char *name, const char *password)
{
    size_t characters = 0, bytes = strlen(password);
    for (size_t i = 0; i < bytes; i++)
        characters += (password[i] & 0xc0) != 0x80;
    if (characters < PASSWORD_LEAST)
        return "password_short";
    if (bytes > PASSWORD_MOST)
        return "password_long";
    if (strcasecmp(name, password) == 0 || simple(password) || common(password))
        return "password_common";
    return NULL;
}

/* ---- for `dermis user` ---- */

static dermis_status problem(const char *key, dermis_error *err)
{
    return base_fail(err, DERMIS_E_USAGE, "%s",
                     strcmp(key, "name_unusable") == 0     ? "the name has to be 3 to 64 bytes, without spaces at "
                                                             "the ends and control characters"
                     : strcmp(key, "password_short") == 0  ? "the password needs at least 10 characters"
                     : strcmp(key, "password_long") == 0   ? "the password may have at most 256 bytes"
                                                           : "the password is one of the first that others "
                                                             "would try; take another one");
}

dermis_status server_user_add(store *db, const char *name, const char *password, bool is_operator,
                              dermis_error *err)
{
    char hash_text[128];
    int64_t id;
    const char *wrong = auth_name_problem(name);
    if (!wrong)
        wrong = auth_password_problem(name, password);
    if (wrong)
        return problem(wrong, err);
    dermis_status status = auth_hash_password(password, hash_text, err);
    if (status == DERMIS_OK)
        status = store_user_add(db, name, hash_text, is_operator, app_now(), &id, err);
    return status == DERMIS_E_EXISTS ? base_fail(err, status, "there is an account %s already", name) : status;
}

dermis_status server_user_set_password(store *db, const char *name, const char *password, dermis_error *err)
{
    char hash_text[128];
    store_user user;
    const char *wrong = auth_password_problem(name, password);
    if (wrong)
        return problem(wrong, err);
    dermis_status status = store_user_by_name(db, name, &user, err);
    if (status == DERMIS_OK)
        status = auth_hash_password(password, hash_text, err);
    if (status == DERMIS_OK)
        status = store_user_set_password(db, user.id, hash_text, NULL, err);
    return status;
}
