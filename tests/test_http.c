/* test_http.c - the web server against raw sockets: how requests may arrive, limits of bodies,
 * parked requests, deadlines, and what is malformed. */
#include "http_client.h"

static uint32_t sum_of(const char *bytes, size_t size)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < size; i++)
        sum = sum * 31 + (uint8_t)bytes[i];
    return sum;
}

/* ---- how requests may arrive ---- */

static void test_keep_alive(void **state)
{
    (void)state;
    fixture f;
    http_options o;
    client c;
    answer a;
    options_of(&o);
    start(&f, &o);
    join(&c, &f);
    say(&c, "GET /a%20b?q=%41+c HTTP/1.1\r\nHost: h\r\n\r\n");
    hear(&c, &a);
    assert_int_equal(a.status, 200);
    assert_string_equal(a.text, "GET /a b q=A c host=h size=0 sum=0 secure=0");
    assert_non_null(strcasestr(a.headers, "\r\nContent-Type: text/plain\r\n"));
    say(&c, "POST /two HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nConnection: close\r\n\r\nxyz");
    hear(&c, &a);
    char text[80];
    snprintf(text, sizeof text, "POST /two q=- host=h size=3 sum=%u secure=0", sum_of("xyz", 3));
    assert_string_equal(a.text, text);
    assert_true(a.close);
    expect_closed(&c);
    leave(&c);
    WAIT_UNTIL(counts_of(&f).connections == 0);
    assert_int_equal(f.done, 2);
    assert_int_equal(f.sent, 2);
    assert_int_equal(f.answer_bytes, strlen(text));
    end(&f);
}

static void test_pipelined(void **state)
{
    (void)state;
    fixture f;
    http_options o;
    client c;
    answer a;
    options_of(&o);
    start(&f, &o);
    start_threads(&f);
    join(&c, &f);
    say(&c, "POST /1 HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab"
            "GET /thread HTTP/1.1\r\nHost: h\r\n\r\n"
            "POST /3 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"
            "GET /4 HTTP/1.1\r\nHost: h\r\n\r\n");
    static const char *const begins[] = {"POST /1 ", "/thread", "POST /3 ", "GET /4 "};
    for (int i = 0; i < 4; i++) {
        hear(&c, &a);
        assert_int_equal(a.status, 200);
        assert_memory_equal(a.text, begins[i], strlen(begins[i]));
    }
    leave(&c);
    end(&f);
}

static void test_single_bytes(void **state)
{
    (void)state;
    static const char request[] = "POST /slow HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello";
    fixture f;
    http_options o;
    client c;
    answer a;
    char text[80];
    options_of(&o);
    start(&f, &o);
    join(&c, &f);
    for (size_t i = 0; i < sizeof request - 1; i++) {
        say_bytes(&c, request + i, 1);
        usleep(500);
    }
    hear(&c, &a);
    snprintf(text, sizeof text, "POST /slow q=- host=h size=5 sum=%u secure=0", sum_of("hello", 5));
    assert_string_equal(a.text, text);
    leave(&c);
    end(&f);
}

static void test_chunked(void **state)
{
    (void)state;
    fixture f;
    http_options o;
    char text[80];
    options_of(&o);
    start(&f, &o);
#define CHUNKED "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
    snprintf(text, sizeof text, "POST / q=- host=h size=29 sum=%u secure=0", sum_of("hello, wide wild world wonder", 29));
    expect(&f, CHUNKED "5\r\nhello\r\n7;ext=1\r\n, wide \r\n0011\r\nwild world wonder\r\n0\r\nTrailer: x\r\n\r\n", 200, text);
    expect(&f, CHUNKED "0\r\n\r\n", 200, "POST / q=- host=h size=0 sum=0 secure=0");
    expect(&f, CHUNKED "zz\r\nhello\r\n0\r\n\r\n", 400, NULL);
    expect(&f, CHUNKED "-1\r\nhello\r\n0\r\n\r\n", 400, NULL);
    expect(&f, CHUNKED "5\r\nhelloX\r\n0\r\n\r\n", 400, NULL);
    expect(&f, CHUNKED "fffffffffffffffff\r\nhello\r\n0\r\n\r\n", 413, NULL);
    end(&f);
}

static void test_head_and_expect(void **state)
{
    (void)state;
    fixture f;
    http_options o;
    client c;
    answer a;
    options_of(&o);
    start(&f, &o);
    join(&c, &f);
    say(&c, "HEAD /x HTTP/1.1\r\nHost: h\r\n\r\n");
    hear_after(&c, &a, true);
    assert_int_equal(a.status, 200);
    assert_non_null(strcasestr(a.headers, "\r\nContent-Length: 4"));
    WAIT_UNTIL(f.done == 1);
    assert_int_equal(f.answer_bytes, 0); /* none were sent */
    say(&c, "GET /file HTTP/1.1\r\nHost: h\r\n\r\n");
    hear(&c, &a); /* not off by a body that came nevertheless */
    assert_string_equal(a.text, "from a file");
    say(&c, "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
    hear(&c, &a);
    assert_int_equal(a.status, 100);
    say(&c, "ok");
    hear(&c, &a);
    assert_int_equal(a.status, 200);
    assert_memory_equal(a.text, "POST /x q=- host=h size=2 ", 26);
    /* refused: no 100, and what would have been the body is no request */
    say(&c, "POST /refused HTTP/1.1\r\nHost: h\r\nContent-Length: 36\r\nExpect: 100-continue\r\n\r\n");
    hear(&c, &a);
    assert_int_equal(a.status, 401);
    assert_string_equal(a.text, "refused 401");
    assert_true(a.close);
    expect_closed(&c);
    leave(&c);
    end(&f);
}

static void test_cut_short(void **state)
{
    (void)state;
    fixture f;
    http_options o;
    client c;
    options_of(&o);
    start(&f, &o);
    join(&c, &f);
    say(&c, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 50\r\n\r\nonly this");
    WAIT_UNTIL(counts_of(&f).body_memory_bytes == 50);
    leave(&c);
    WAIT_UNTIL(counts_of(&f).connections == 0);
    assert_int_equal(f.accepted, 1);
    assert_int_equal(f.handled, 0);
    assert_int_equal(f.done, 1);
    assert_int_equal(f.sent, 0);
    for (int i = 0; i < 60; i++) { /* before it is a request; the end comes with the last bytes */
        join(&c, &f);
        say(&c, "GET / HTT");
        leave(&c);
    }
    WAIT_UNTIL(counts_of(&f).connections == 0); /* well before its deadline */
    /* one that has said all and only closed its side gets its answer */
    join(&c, &f);
    say(&c, "GET /park HTTP/1.1\r\nHost: h\r\n\r\n");
    shutdown(c.fd, SHUT_WR);
    WAIT_UNTIL(parked_of(&f) == 1);
    usleep(700000);
    reply_text(parked_take(&f), 200, "at last");
    answer a;
    hear(&c, &a);
    assert_string_equal(a.text, "at last");
    leave(&c);
    WAIT_UNTIL(counts_of(&f).connections == 0);
    join(&c, &f);
    say(&c, "GET /a HTTP/1.1\r\nHost: h\r\nX-Half");
    usleep(20000);
    leave(&c);
    WAIT_UNTIL(counts_of(&f).connections == 0);
    assert_int_equal(f.accepted, 2);
    end(&f);
}

/* ---- limits of bodies ---- */

static void say_body(client *c, size_t size) /* size bytes; stops where the server closes */
{
    static char bytes[1 << 16];
    for (size_t n; size; size -= n) {
        n = size < sizeof bytes ? size : sizeof bytes;
        if (!say_bytes(c, bytes, n))
            return;
    }
}

static void test_too_long(void **state)
{
    (void)state;
    fixture f;
    http_options o;
    client c;
    answer a;
    options_of(&o);
    o.body_bytes = 1000;
    o.drain_bytes = 200000;
    start(&f, &o);
    /* drained, answered, and the connection goes on */
    join(&c, &f);
    say(&c, "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 150000\r\n\r\n");
    say_body(&c, 150000);
    hear(&c, &a);
    assert_int_equal(a.status, 413);
    assert_false(a.close);
    say(&c, "POST /b HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n");
    say_body(&c, 1000);
    hear(&c, &a);
    assert_int_equal(a.status, 200);
    leave(&c);
    /* of unknown length: found out on the way */
    join(&c, &f);
    say(&c, "POST /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2000\r\n");
    say_body(&c, 0x2000);
    say(&c, "\r\n0\r\n\r\n");
    hear(&c, &a);
    assert_int_equal(a.status, 413);
    leave(&c);
    /* longer than what is drained: answered at once and closed */
    join(&c, &f);
    say(&c, "POST /d HTTP/1.1\r\nHost: h\r\nContent-Length: 200001\r\n\r\n");
    hear(&c, &a);
    assert_int_equal(a.status, 413);
    assert_true(a.close);
    expect_closed(&c);
    leave(&c);
    /* of unknown length and without end: cut */
    join(&c, &f);
    say(&c, "POST /e HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n7fffffff\r\n");
    say_body(&c, 8 << 20);
    expect_closed(&c);
    leave(&c);
    WAIT_UNTIL(counts_of(&f).requests == 0);
    assert_int_equal(counts_of(&f).body_memory_bytes, 0);
    end(&f);
}

/* Past the memory for bodies they go to unnamed files, whole. */
static void test_spill(void **state)
{
    (void)state;
    enum { SIZE = 300000, MANY = 4 };
    static char body[SIZE];
    char folder[] = "/tmp/dermis-http-XXXXXX", head[120], text[120];
    fixture f;
    http_options o;
    client c[MANY];
    answer a;
    assert_non_null(mkdtemp(folder));
    for (size_t i = 0; i < SIZE; i++)
        body[i] = (char)(i * 31 + i / 255);
    options_of(&o);
    o.bodies_bytes = SIZE * 2;
    o.spill_folder = folder;
    start(&f, &o);
    for (int i = 0; i < MANY; i++) { /* all but the last byte: none is complete */
        join(&c[i], &f);
        if (i == 1) /* one whose length is not known grows in memory, then moves to a file */
            snprintf(head, sizeof head, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n", SIZE);
        else
            snprintf(head, sizeof head, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n", SIZE);
        say(&c[i], head);
        say_bytes(&c[i], body, SIZE - 1);
        WAIT_UNTIL(counts_of(&f).body_memory_bytes + counts_of(&f).body_file_bytes >= (size_t)(i + 1) * (SIZE - 1));
        assert_true(counts_of(&f).body_memory_bytes <= o.bodies_bytes);
    }
    assert_true(counts_of(&f).body_file_bytes >= (size_t)2 * (SIZE - 1));
    assert_int_equal(rmdir(folder), 0); /* nothing has a name there */
    snprintf(text, sizeof text, "POST / q=- host=h size=%d sum=%u secure=0", SIZE, sum_of(body, SIZE));
    for (int i = 0; i < MANY; i++) {
        say_bytes(&c[i], body + SIZE - 1, 1);
        if (i == 1)
            say(&c[i], "\r\n0\r\n\r\n");
        hear(&c[i], &a);
        assert_string_equal(a.text, text);
        leave(&c[i]);
    }
    /* what all files may take is bounded, too: who comes past it is refused and drained, the others go on */
    end(&f);
    o.bodies_bytes = 10;
    o.files_bytes = SIZE + SIZE / 2;
    o.spill_folder = "/tmp";
    start(&f, &o);
    for (int i = 0; i < 2; i++) {
        join(&c[i], &f);
        say(&c[i], head);
        say_bytes(&c[i], body, i == 0 ? SIZE - 1 : SIZE);
        WAIT_UNTIL(i == 1 || counts_of(&f).body_file_bytes == SIZE - 1);
        assert_true(counts_of(&f).body_file_bytes <= o.files_bytes);
    }
    hear(&c[1], &a);
    assert_int_equal(a.status, 503);
    assert_int_equal(counts_of(&f).body_file_bytes, SIZE - 1);
    say_bytes(&c[0], body + SIZE - 1, 1);
    hear(&c[0], &a);
    assert_string_equal(a.text, text);
    leave(&c[0]);
    leave(&c[1]);
    o.files_bytes = 0;
    o.spill_folder = folder;
    /* no memory left and no folder any more: refused, not lost */
    o.bodies_bytes = 10;
    end(&f);
    start(&f, &o);
    expect(&f, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 12\r\n\r\nhello, world", 503, "refused 503");
    end(&f);
}

/* ---- deadlines ---- */

static void test_late(void **state)
{
    (void)state;
    fixture f;
    http_options o;
    client late, trickling, parked, header, in_time;
    answer a;
    options_of(&o);
    o.request_s = 1;
    o.header_s = 1;
    start(&f, &o);
    join(&header, &f);
    say(&header, "GET / HTTP/1.1\r\nHost: h\r\nX-Hal");
    join(&parked, &f);
    say(&parked, "GET /park HTTP/1.1\r\nHost: h\r\n\r\n");
    WAIT_UNTIL(parked_of(&f) == 1);
    join(&in_time, &f);
    say(&in_time, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab");
    hear(&in_time, &a);
    assert_int_equal(a.status, 200); /* and is told nothing more */
    join(&late, &f);
    say(&late, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nhello");
    join(&trickling, &f);
    say(&trickling, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9000\r\n\r\n");
    for (int i = 0; i < 14; i++) {
        say(&trickling, "x");
        usleep(100000);
    }
    hear(&trickling, &a);
    assert_int_equal(a.status, 408);
    hear(&late, &a);
    assert_int_equal(a.status, 408);
    assert_string_equal(a.text, "late");
    assert_non_null(strcasestr(a.headers, "\r\nX-Own: 1\r\n"));
    assert_true(a.close);
    expect_closed(&late);
    say(&late, "late"); /* the rest of it makes no request */
    leave(&late);
    leave(&trickling);
    expect_closed(&header);
    leave(&header);
    expect_closed(&parked); /* complete: it is cut without a word */
    WAIT_UNTIL(counts_of(&f).cut == 4);
    reply_text(parked_take(&f), 200, "nobody hears it");
    leave(&parked);
    WAIT_UNTIL(f.done == 4); /* the header's was none */
    assert_int_equal(f.handled, 2);
    assert_int_equal(f.sent, 3); /* in time, and two that were told */
    leave(&in_time);
    end(&f);
}

/* All places are taken by those who ask nothing, or hardly: others get in before these end by themselves. */
static void test_crowded(void **state)
{
    (void)state;
    enum { PLACES = 8 };
    fixture f;
    http_options o;
    client c[PLACES], quick, parked;
    answer a;
    options_of(&o);
    o.connections = PLACES;
    o.crowded_s = 1;
    start(&f, &o);
    join(&parked, &f);
    say(&parked, "GET /park HTTP/1.1\r\nHost: h\r\n\r\n");
    for (int i = 1; i < PLACES; i++) {
        join(&c[i], &f);
        if (i % 3 == 1)
            say(&c[i], "GET /a HTTP/1.1\r\nHost: h\r\n"); /* its headers do not end */
        else if (i % 3 == 2)
            say(&c[i], "POST /b HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nhello");
    }
    WAIT_UNTIL(counts_of(&f).connections == PLACES && parked_of(&f) == 1);
    double began = base_now_ms();
    join(&quick, &f); /* in the system's backlog */
    say(&quick, "GET /quick HTTP/1.1\r\nHost: h\r\n\r\n");
    hear(&quick, &a);
    assert_int_equal(a.status, 200);
    assert_true(base_now_ms() - began < 5000); /* headers alone have 30 s */
    for (int i = 1; i < PLACES; i++)
        if (i % 3 == 2) {
            hear(&c[i], &a);
            assert_int_equal(a.status, 408);
        }
    reply_text(parked_take(&f), 200, "at last"); /* it has asked: it stays */
    hear(&parked, &a);
    assert_string_equal(a.text, "at last");
    for (int i = 1; i < PLACES; i++)
        leave(&c[i]);
    leave(&quick);
    leave(&parked);
    end(&f);
}

/* All places are taken by those who do not read what they asked for, but for one who reads at leisure: it stays. */
static void test_crowded_by_readers(void **state)
{
    (void)state;
    enum { PLACES = 8, MIB = 12 };
    fixture f;
    http_options o;
    client c[PLACES], quick;
    answer a;
    char part[1 << 15];
    options_of(&o);
    o.connections = PLACES;
    o.crowded_s = 1;
    start(&f, &o);
    for (int i = 0; i < PLACES; i++) {
        join(&c[i], &f);
        say(&c[i], "GET /big?n=12 HTTP/1.1\r\nHost: h\r\n\r\n");
    }
    WAIT_UNTIL(f.handled == PLACES);
    double began = base_now_ms();
    join(&quick, &f); /* in the system's backlog */
    say(&quick, "GET /quick HTTP/1.1\r\nHost: h\r\n\r\n");
    size_t got = 0;
    for (ssize_t n; recv(quick.fd, part, 1, MSG_PEEK | MSG_DONTWAIT) < 0; got += (size_t)n) {
        assert_true((n = recv(c[0].fd, part, sizeof part, 0)) > 0);
        assert_true(base_now_ms() - began < 6000); /* the answers have 300 s */
        usleep(20000);
    }
    hear(&quick, &a);
    assert_int_equal(a.status, 200);
    while (got < (size_t)MIB << 20) {
        ssize_t n = recv(c[0].fd, part, sizeof part, 0);
        assert_true(n > 0);
        got += (size_t)n;
    }
    for (int i = 0; i < PLACES; i++)
        leave(&c[i]);
    leave(&quick);
    end(&f);
}

/* ---- parked requests ---- */

static void test_gone(void **state)
{
    (void)state;
    fixture f;
    http_options o;
    client c;
    options_of(&o);
    start(&f, &o);
    join(&c, &f);
    say(&c, "GET /park HTTP/1.1\r\nHost: h\r\n\r\n");
    WAIT_UNTIL(parked_of(&f) == 1);
    http_request *r = parked_take(&f);
    assert_false(http_request_gone(r));
    leave(&c);
    WAIT_UNTIL(http_request_gone(r));
    reply_text(r, 200, "nobody hears it");
    WAIT_UNTIL(f.done == 1);
    end(&f);
}

/* Replies race with the parking of their requests, and with clients that leave. */
static void test_races(void **state)
{
    (void)state;
    enum { CLIENTS = 16, ROUNDS = 40 };
    fixture f;
    http_options o;
    client c[CLIENTS];
    answer a;
    unsigned answered = 0;
    options_of(&o);
    start(&f, &o);
    start_threads(&f);
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < CLIENTS; i++) {
            join(&c[i], &f);
            say(&c[i], "POST /thread HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc");
        }
        for (int i = 0; i < CLIENTS; i++) {
            if ((round + i) % 3) {
                hear(&c[i], &a);
                assert_int_equal(a.status, 200);
                answered++;
            }
            leave(&c[i]);
        }
    }
    WAIT_UNTIL(f.done == f.accepted && counts_of(&f).connections == 0);
    assert_true(f.sent >= answered);
    end(&f);
}

/* ---- what is malformed ---- */

static void test_malformed(void **state)
{
    (void)state;
    static const char *const refused[] = {
        "GET /a/../b HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET /a/%2e%2e/b HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET /%00 HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET /%ff HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET /%zz HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET http://h/ HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nHost: other\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nAuthorization: a\r\nAuthorization: b\r\nContent-Length: 0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Type: a/b\r\nContent-Type: b/a\r\nContent-Length: 0\r\n\r\n",
    };
    fixture f;
    http_options o;
    client c;
    answer a;
    options_of(&o);
    start(&f, &o);
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        f.last_refused = 0;
        expect(&f, refused[i], 400, NULL);
        assert_int_equal(f.last_refused, 400);
    }
    /* two lengths, or a length and chunks: whatever the answer, what follows is not taken for a request */
#define SMUGGLED "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n"
    static const char *const smuggled[] = {
        "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 40\r\n\r\nabc" SMUGGLED,
        "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" SMUGGLED,
        "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: +3\r\n\r\nabc",
        "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n",
    };
    for (size_t i = 0; i < sizeof smuggled / sizeof *smuggled; i++) {
        f.handled = 0;
        join(&c, &f);
        say(&c, smuggled[i]);
        shutdown(c.fd, SHUT_WR);
        hear(&c, &a);
        assert_true(a.status == 400 || a.status == 413 || a.status == 0);
        leave(&c);
        WAIT_UNTIL(counts_of(&f).connections == 0);
        assert_true(f.handled <= 1);
    }
    /* a target past 8 KiB; a query counts */
    static char flood[100000];
    for (int i = 0; i < 4; i++) {
        snprintf(flood, sizeof flood, "GET /%s%0*d HTTP/1.1\r\nHost: h\r\n\r\n", i & 1 ? "?q=" : "", (i & 2 ? 20000 : 8188), 1);
        expect(&f, flood, i & 2 ? 414 : 200, i & 2 ? "refused 414" : NULL);
    }
    /* headers past a connection's memory */
    memset(flood, 'y', sizeof flood - 1);
    join(&c, &f);
    say(&c, "GET / HTTP/1.1\r\nHost: h\r\nX: ");
    say(&c, flood);
    hear(&c, &a);
    assert_true(a.status == 431 || a.status == 0);
    leave(&c);
    end(&f);
}

/* ---- the begin ---- */

typedef struct knocking {
    uint16_t port;
    atomic_bool enough;
    atomic_uint answered;
} knocking;

static void *knock(void *argument)
{
    static const char ask[] = "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    knocking *k = argument;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(k->port)};
    struct timeval limit = {.tv_sec = 1};
    char got[16];
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    while (!k->enough) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0 && send(fd, ask, sizeof ask - 1, MSG_NOSIGNAL) > 0)
            k->answered += recv(fd, got, sizeof got, 0) > 0;
        close(fd);
    }
    return NULL;
}

/* Who knocks while the server starts finds it whole: on_accept asks it for its counts. */
static void test_early(void **state)
{
    (void)state;
    fixture f;
    http_options o;
    knocking k = {0};
    pthread_t threads[2];
    options_of(&o);
    start(&f, &o);
    o.port = k.port = http_server_port(f.server);
    end(&f);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, knock, &k), 0);
    for (int round = 0; round < 40; round++) {
        unsigned before = k.answered;
        start(&f, &o);
        WAIT_UNTIL(k.answered > before);
        end(&f);
    }
    k.enough = true;
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
}

/* ---- the end ---- */

/* Nothing begun is lost, nothing new is taken; the listening socket is the event thread's to the last. */
static void test_drain(void **state)
{
    (void)state;
    for (int round = 0; round < 20; round++) {
        fixture f;
        http_options o;
        client kept, waiting;
        answer a;
        options_of(&o);
        start(&f, &o);
        join(&kept, &f);
        say(&kept, "GET /kept HTTP/1.1\r\nHost: h\r\n\r\n");
        hear(&kept, &a);
        join(&waiting, &f);
        say(&waiting, "GET /park HTTP/1.1\r\nHost: h\r\n\r\n");
        WAIT_UNTIL(parked_of(&f) == 1);
        assert_false(http_server_drain(f.server, 20)); /* one is not answered yet */
        assert_int_equal(connect_to(&f), -1);
        reply_text(parked_take(&f), 200, "at last");
        hear(&waiting, &a);
        assert_string_equal(a.text, "at last");
        assert_true(a.close); /* as every answer from now on */
        assert_true(http_server_drain(f.server, 5000));
        leave(&kept);
        leave(&waiting);
        end(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keep_alive),      cmocka_unit_test(test_pipelined),
        cmocka_unit_test(test_single_bytes),    cmocka_unit_test(test_chunked),
        cmocka_unit_test(test_head_and_expect), cmocka_unit_test(test_cut_short),
        cmocka_unit_test(test_too_long),        cmocka_unit_test(test_spill),
        cmocka_unit_test(test_late),            cmocka_unit_test(test_gone),
        cmocka_unit_test(test_crowded),         cmocka_unit_test(test_crowded_by_readers),
        cmocka_unit_test(test_races),           cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_early),           cmocka_unit_test(test_drain),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
