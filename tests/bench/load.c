/* The clients of `make bench`: load PORT CONNECTIONS SECONDS RATE END FILE

   Sends the request in FILE again and again, on each of the connections, for so
   many seconds, and prints one line of JSON. RATE 0: as fast as replies come.
   Else so many requests a second, and a latency counts from when its request was
   due. A reply is good when its status is 200 and END is in its last bytes.
   SECONDS 0: one request on each connection, which is then held until standard
   input ends; a reply is good when its first bytes have come. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <math.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { HEAD = 16 << 10, TAIL = 32, READ = 256 << 10, KEPT = 8 << 20, EVENTS = 256, AT_ONCE = 64 };
static const double PATIENCE = 20; /* seconds for what still runs when the time is over */

enum state { IDLE, IN_HEAD, IN_BODY, IN_SIZE, IN_CHUNK, AFTER_CHUNK, AFTER_ALL };

struct client {
    int fd;
    enum state state;
    double begun, first;
    size_t left, head_used, written;
    bool chunked, spoke, good;
    char head[HEAD], tail[TAIL];
};

static struct sockaddr_in server = {.sin_family = AF_INET};
static struct client *clients, **idle;
static int poller, waiting, running, all;
static char *request;
static size_t request_size;
static const char *ending;
static long done, in_time, failed, held;
static double start, stop, begins, rate;
static float *whole, *to_first;
static bool holding;

static double now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec + at.tv_nsec / 1e9;
}

static void connect_client(struct client *client) {
    int one = 1;
    client->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    connect(client->fd, (struct sockaddr *)&server, sizeof server);
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = client};
    epoll_ctl(poller, EPOLL_CTL_ADD, client->fd, &event);
}

static void rest(struct client *client) {
    client->state = IDLE;
    idle[waiting++] = client;
}

static void begin(struct client *client, double due) {
    client->state = IN_HEAD;
    client->begun = due;
    client->head_used = client->written = 0;
    client->spoke = client->chunked = client->good = false;
    memset(client->tail, 0, TAIL);
    running++;
}

static void write_on(struct client *client) {
    while (client->state != IDLE && client->written < request_size) {
        ssize_t n = send(client->fd, request + client->written, request_size - client->written, MSG_NOSIGNAL);
        if (n <= 0) return;
        client->written += n;
    }
}

static void end(struct client *client, bool good) {
    if (!good && failed++ == 0)
        fprintf(stderr, "failed: %.*s\n%.*s\n", (int)client->head_used, client->head, TAIL, client->tail);
    double at = now();
    if (good && done < KEPT) {
        whole[done] = at - client->begun;
        to_first[done] = client->first;
    }
    done += good;
    in_time += good && at <= stop;
    running--;
    rest(client);
}


static void take(struct client *client, const char *bytes, size_t size) {
    if (!client->spoke && size) {
        client->spoke = true;
        client->first = now() - client->begun;
        held += client->good;
    }
    size_t new = size < TAIL ? size : TAIL;
    memmove(client->tail, client->tail + new, TAIL - new);
    memcpy(client->tail + TAIL - new, bytes + size - new, new);
}

static bool ended_well(struct client *client) {
    return client->good && memmem(client->tail, TAIL, ending, strlen(ending));
}

static void read_head(struct client *client) {
    client->head[client->head_used] = 0;
    client->good = !strncmp(client->head, "HTTP/1.1 200", 12);
    client->chunked = strcasestr(client->head, "\r\ntransfer-encoding: chunked");
    char *length = strcasestr(client->head, "\r\ncontent-length:");
    client->left = length ? strtoul(length + 17, NULL, 10) : SIZE_MAX;
    client->state = client->chunked ? IN_SIZE : IN_BODY;
    if (client->chunked) client->left = 0;
}

/* Takes what it can of `size` bytes at `at`; how many those were. A reply may end in it. */
static size_t parse(struct client *client, const char *at, size_t size) {
    size_t n = 1;
    switch (client->state) {
    case IN_HEAD:
        client->head[client->head_used++] = *at;
        if (client->head_used >= 4 && !memcmp(client->head + client->head_used - 4, "\r\n\r\n", 4)) {
            read_head(client);
            if (client->state == IN_BODY && client->left == 0) end(client, false);
        } else if (client->head_used == HEAD - 1) end(client, false);
        return 1;
    case IN_SIZE:
        if (*at == '\n') client->state = client->left ? IN_CHUNK : AFTER_ALL;
        else if (*at != '\r') client->left = client->left * 16 + (*at <= '9' ? *at - '0' : (*at | 32) - 'a' + 10);
        return 1;
    case AFTER_CHUNK:
        if (*at == '\n') client->state = IN_SIZE;
        return 1;
    case AFTER_ALL:
        if (*at == '\n') end(client, ended_well(client));
        return 1;
    case IN_BODY:
    case IN_CHUNK:
        n = size < client->left ? size : client->left;
        take(client, at, n);
        client->left -= n;
        if (client->left) return n;
        if (client->state == IN_CHUNK) client->state = AFTER_CHUNK;
        else end(client, ended_well(client));
        return n;
    case IDLE:
        break;
    }
    return size;
}

static void lost(struct client *client) {
    close(client->fd);
    client->fd = -1;
    /* Without a length a reply ends with its connection. */
    if (client->state != IDLE) end(client, client->state == IN_BODY && client->left > SIZE_MAX / 2 && ended_well(client));
}

static void hear(struct client *client) {
    static char buffer[READ];
    for (ssize_t n; (n = recv(client->fd, buffer, READ, 0)) != 0;) {
        if (n < 0 && errno == EAGAIN) return;
        if (n < 0) break;
        for (size_t at = 0; at < (size_t)n;) at += parse(client, buffer + at, n - at);
    }
    lost(client);
}

/* Gives work to idle clients: at once, or when the next request is due. */
static void feed(double at) {
    while (waiting && at < stop && (!holding || running - held < AT_ONCE) && (!rate || begins <= at)) {
        struct client *client = idle[--waiting];
        if (client->fd < 0) connect_client(client);
        begin(client, rate ? begins : at);
        if (rate) begins += 1 / rate;
        write_on(client);
    }
}

static int by_size(const void *one, const void *other) {
    float a = *(const float *)one, b = *(const float *)other;
    return (a > b) - (a < b);
}

static double quantile(const float *sorted, double share) {
    long n = done < KEPT ? done : KEPT;
    return n ? sorted[(long)(share * (n - 1))] * 1e3 : NAN;
}

static void report(double seconds) {
    long n = done < KEPT ? done : KEPT;
    qsort(whole, n, sizeof *whole, by_size);
    qsort(to_first, n, sizeof *to_first, by_size);
    printf("{\"requests\": %ld, \"in_time\": %ld, \"failed\": %ld, \"held\": %ld, \"seconds\": %.6f", done, in_time,
           failed, held, seconds);
    if (n)
        printf(", \"p50\": %.4f, \"p99\": %.4f, \"max\": %.4f, \"first_p50\": %.4f, \"first_p99\": %.4f",
               quantile(whole, 0.5), quantile(whole, 0.99), quantile(whole, 1), quantile(to_first, 0.5),
               quantile(to_first, 0.99));
    printf("}\n");
    fflush(stdout);
}

static void read_request(const char *path) {
    FILE *file = fopen(path, "rb");
    if (!file) exit(2);
    fseek(file, 0, SEEK_END);
    request_size = ftell(file);
    rewind(file);
    request = malloc(request_size);
    if (fread(request, 1, request_size, file) != request_size) exit(2);
    fclose(file);
}

int main(int argc, char **argv) {
    if (argc != 7) return 2;
    server.sin_port = htons(atoi(argv[1]));
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    all = atoi(argv[2]);
    holding = atof(argv[3]) == 0;
    rate = atof(argv[4]);
    ending = argv[5];
    read_request(argv[6]);
    clients = calloc(all, sizeof *clients);
    idle = calloc(all, sizeof *idle);
    whole = malloc(KEPT * sizeof *whole);
    to_first = malloc(KEPT * sizeof *to_first);
    poller = epoll_create1(0);
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN | EPOLLET};
    epoll_ctl(poller, EPOLL_CTL_ADD, timer, &event);
    for (int i = 0; i < all; i++) {
        clients[i].fd = -1;
        rest(&clients[i]);
    }
    start = begins = now();
    stop = start + (holding ? PATIENCE * 3 : atof(argv[3]));
    for (double at = start; at < stop || (running && at < stop + PATIENCE); at = now()) {
        feed(at);
        if (holding && held + failed >= all) break;
        if (rate && waiting) {
            struct itimerspec when = {.it_value = {(time_t)begins, (long)(fmod(begins, 1) * 1e9)}};
            timerfd_settime(timer, TFD_TIMER_ABSTIME, &when, NULL);
        }
        struct epoll_event events[EVENTS];
        int n = epoll_wait(poller, events, EVENTS, 10);
        for (int i = 0; i < n; i++) {
            struct client *client = events[i].data.ptr;
            if (!client) continue;
            if (events[i].events & EPOLLOUT) write_on(client);
            if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) hear(client);
        }
    }
    failed += holding ? 0 : running;
    report((now() < stop ? now() : stop) - start);
    if (holding)
        while (getchar() != EOF) {}
    return 0;
}
