/* The same work in C, with rabbitmq-c: what a program in Python can at best come near to.
 *
 *     rabbitmq_c AMQP_URL PREFETCH INPUT OUTPUT AGENT...
 *
 * One thread, which reads all frames at hand before it waits: each message is routed and published
 * as it comes (persistent, mandatory), and one frame acknowledges all that RabbitMQ has confirmed.
 * Without arguments it prints the version of the library.
 */

#if __has_include(<rabbitmq-c/amqp.h>)
#include <rabbitmq-c/amqp.h>
#include <rabbitmq-c/tcp_socket.h>
#else
#include <amqp.h>
#include <amqp_tcp_socket.h>
#endif
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

enum { CHANNEL = 1, FRAME_MAX = 131072, WINDOW = 65536, PERSISTENT = 2 };

/* The most bytes that routing adds to a message: a member with an agent's name. */
enum { ADDED = 320, NAME = 256 };

/* Bytes of somebody else. */
typedef struct {
    const char *start, *end;
} span;

static amqp_connection_state_t connection;
static amqp_bytes_t output;
static char **agents;
static int agent_count;

static void fail(const char *what) {
    fprintf(stderr, "%s\n", what);
    exit(1);
}

static void check(int status, const char *what) {
    if (status < 0) {
        fprintf(stderr, "%s: %s\n", what, amqp_error_string2(status));
        exit(1);
    }
}

static void check_reply(amqp_rpc_reply_t reply, const char *what) {
    if (reply.reply_type == AMQP_RESPONSE_LIBRARY_EXCEPTION) check(reply.library_error, what);
    if (reply.reply_type != AMQP_RESPONSE_NORMAL) fail(what);
}

/* Routing: the members of the object are copied as they are, but for a few. */

static bool is(span text, const char *expected) {
    size_t size = strlen(expected);
    return (size_t)(text.end - text.start) == size && !memcmp(text.start, expected, size);
}

static const char *past_space(const char *at, const char *end) {
    while (at < end && (*at == ' ' || *at == '\t' || *at == '\r' || *at == '\n')) ++at;
    return at;
}

static const char *past_string(const char *at, const char *end) {
    for (++at; at < end; ++at) {
        if (*at == '\\')
            ++at;
        else if (*at == '"')
            return at + 1;
    }
    fail("a text without an end");
    return end;
}

/* Returns where a value ends: before the comma or the bracket that follows it. */
static const char *past_value(const char *at, const char *end) {
    int depth = 0;
    while (at < end) {
        switch (*at) {
            case '"':
                at = past_string(at, end);
                continue;
            case '{':
            case '[':
                ++depth;
                break;
            case ',':
                if (depth == 0) return at;
                break;
            case '}':
            case ']':
                if (depth-- == 0) return at;
                break;
        }
        ++at;
    }
    fail("an object without an end");
    return end;
}

static const char *receiver_for(span sender) {
    for (;;) {
        const char *agent = agents[random() % agent_count];
        span unquoted = {sender.start + 1, sender.end - 1};
        if (sender.end - sender.start < 2 || !is(unquoted, agent)) return agent;
    }
}

/* Writes the routed message, and returns its size: at most `ADDED` bytes more than the message's. */
static size_t route(span body, char *routed) {
    span sender = {NULL, NULL};
    char *to = routed;
    const char *at = past_space(body.start, body.end);
    if (at == body.end || *at != '{') fail("not an object");
    *to++ = '{';
    at = past_space(at + 1, body.end);
    while (at < body.end && *at == '"') {
        span name = {at, past_string(at, body.end)};
        at = past_space(name.end, body.end);
        if (at == body.end || *at != ':') fail("a name without a value");
        at = past_space(at + 1, body.end);
        span value = {at, past_value(at, body.end)};
        if (is(name, "\"sender_id\"")) sender = value;
        if (!is(name, "\"receiver_id\"") && !is(name, "\"_client_id\"") &&
            !is(name, "\"_broadcast\"") && !is(name, "\"_target_agent_id\"")) {
            size_t size = value.end - name.start;
            memcpy(to, name.start, size);
            to += size;
            *to++ = ',';
        }
        at = value.end;
        if (at < body.end && *at == ',') at = past_space(at + 1, body.end);
    }
    if (at == body.end || *at != '}') fail("an object without an end");
    to += sprintf(to, "\"receiver_id\":\"%s\"}", receiver_for(sender));
    return to - routed;
}

/* Publishing and acknowledging: the n-th delivery is the n-th publishing. */

static uint64_t published, settled, acknowledged;
static bool is_confirmed[WINDOW];

static void publish(span body) {
    static char *routed;
    static size_t room;
    size_t needed = body.end - body.start + ADDED;
    if (needed > room) {
        room = needed;
        routed = realloc(routed, room);
        if (!routed) fail("out of memory");
    }
    amqp_bytes_t bytes = {route(body, routed), routed};
    amqp_basic_properties_t properties = {
        ._flags = AMQP_BASIC_CONTENT_TYPE_FLAG | AMQP_BASIC_DELIVERY_MODE_FLAG,
        .content_type = amqp_cstring_bytes("application/json"),
        .delivery_mode = PERSISTENT,
    };
    check(amqp_basic_publish(connection, CHANNEL, amqp_empty_bytes, output, true, false,
                             &properties, bytes),
          "publishing");
    ++published;
}

static void confirmed(const amqp_basic_ack_t *confirm) {
    uint64_t first = confirm->multiple ? settled + 1 : confirm->delivery_tag;
    for (uint64_t number = first; number <= confirm->delivery_tag; ++number)
        is_confirmed[number % WINDOW] = true;
    while (settled < published && is_confirmed[(settled + 1) % WINDOW])
        is_confirmed[++settled % WINDOW] = false;
}

static void acknowledge(void) {
    if (settled == acknowledged) return;
    check(amqp_basic_ack(connection, CHANNEL, settled, true), "acknowledging");
    acknowledged = settled;
}

/* Reading. */

static void set_corked(int corked) {
    setsockopt(amqp_get_sockfd(connection), IPPROTO_TCP, TCP_CORK, &corked, sizeof corked);
}

/* Returns the next frame. Writes what is due before it waits. */
static amqp_frame_t next_frame(void) {
    amqp_frame_t frame;
    struct timeval at_once = {0, 0};
    int status = amqp_simple_wait_frame_noblock(connection, &frame, &at_once);
    if (status == AMQP_STATUS_TIMEOUT) {
        acknowledge();
        set_corked(false);
        status = amqp_simple_wait_frame(connection, &frame);
        set_corked(true);
    }
    check(status, "reading");
    return frame;
}

/* Returns the body of the delivery whose method was read last, until the next call. */
static span read_body(void) {
    static char *body;
    static size_t room;
    amqp_frame_t frame = next_frame();
    if (frame.frame_type != AMQP_FRAME_HEADER) fail("a delivery without a header");
    size_t size = frame.payload.properties.body_size, received = 0;
    if (size > room) {
        room = size;
        body = realloc(body, room);
        if (!body) fail("out of memory");
    }
    while (received < size) {
        frame = next_frame();
        if (frame.frame_type != AMQP_FRAME_BODY) fail("a delivery without a body");
        amqp_bytes_t fragment = frame.payload.body_fragment;
        if (fragment.len > size - received) fail("a body larger than announced");
        memcpy(body + received, fragment.bytes, fragment.len);
        received += fragment.len;
    }
    return (span){body, body + size};
}

static void route_forever(uint64_t prefetch) {
    for (;;) {
        amqp_maybe_release_buffers_on_channel(connection, CHANNEL);
        amqp_frame_t frame = next_frame();
        if (frame.frame_type != AMQP_FRAME_METHOD) fail("an unexpected frame");
        switch (frame.payload.method.id) {
            case AMQP_BASIC_DELIVER_METHOD:
                publish(read_body());
                break;
            case AMQP_BASIC_ACK_METHOD:
                confirmed(frame.payload.method.decoded);
                if (settled - acknowledged > prefetch / 4) acknowledge();
                break;
            default:
                fail(amqp_method_name(frame.payload.method.id));
        }
    }
}

static void open_connection(char *url) {
    struct amqp_connection_info info;
    check(amqp_parse_url(url, &info), "the URL");
    connection = amqp_new_connection();
    amqp_socket_t *socket = amqp_tcp_socket_new(connection);
    if (!socket) fail("out of memory");
    check(amqp_socket_open(socket, info.host, info.port), "connecting");
    check_reply(amqp_login(connection, *info.vhost ? info.vhost : "/", 0, FRAME_MAX, 0,
                           AMQP_SASL_METHOD_PLAIN, info.user, info.password),
                "logging in");
    amqp_channel_open(connection, CHANNEL);
    check_reply(amqp_get_rpc_reply(connection), "opening a channel");
}

int main(int count, char **arguments) {
    if (count == 1) {
        puts(amqp_version());
        return 0;
    }
    if (count < 7) fail("usage: rabbitmq_c AMQP_URL PREFETCH INPUT OUTPUT AGENT AGENT...");
    uint16_t prefetch = atoi(arguments[2]);
    amqp_bytes_t input = amqp_cstring_bytes(arguments[3]);
    output = amqp_cstring_bytes(arguments[4]);
    agents = arguments + 5;
    agent_count = count - 5;
    for (int number = 0; number < agent_count; ++number)
        if (strlen(agents[number]) > NAME) fail("an agent's name is too long");
    open_connection(arguments[1]);
    amqp_confirm_select(connection, CHANNEL);
    check_reply(amqp_get_rpc_reply(connection), "asking for confirms");
    amqp_basic_qos(connection, CHANNEL, 0, prefetch, false);
    check_reply(amqp_get_rpc_reply(connection), "setting the prefetch");
    for (int number = 3; number < 5; ++number) {
        amqp_queue_declare(connection, CHANNEL, amqp_cstring_bytes(arguments[number]), false, true,
                           false, false, amqp_empty_table);
        check_reply(amqp_get_rpc_reply(connection), "declaring a queue");
    }
    amqp_basic_consume(connection, CHANNEL, input, amqp_empty_bytes, false, false, false,
                       amqp_empty_table);
    check_reply(amqp_get_rpc_reply(connection), "consuming");
    set_corked(true);
    route_forever(prefetch);
}
