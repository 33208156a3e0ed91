/* The provider of `make bench`: upstream FOLDER PACE_MS

   Serves the files of a folder, each of which is a whole HTTP/1.1 reply. The
   "model" in a request's body is the name of the file. Zero bytes part a file
   into pieces; each piece leaves PACE_MS after the one before it. Listens on a
   free port of the loopback, prints its number, and ends with its standard input. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { REPLIES = 64, EVENTS = 256, ROOM = 64 << 10, LARGEST = 16 << 20, BACKLOG = 4096 };

struct reply { char name[64]; char *bytes; size_t size; };

/* `reply` is the one that is being written, from `sent`, its piece up to `end`. */
struct line {
    int fd;
    char *in;
    size_t used, room;
    const struct reply *reply;
    size_t sent, end;
    bool waiting;
    double due;
    struct line *next;
};

static struct reply replies[REPLIES];
static int count, poller;
static double pace;
/* Every wait is as long as the others, so the queue is in the order of time. */
static struct line *first, *last;

static void die(const char *what) {
    perror(what);
    exit(1);
}

static double now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec + at.tv_nsec / 1e9;
}

static void read_replies(const char *folder) {
    DIR *listing = opendir(folder);
    if (!listing || chdir(folder)) die(folder);
    for (struct dirent *entry; (entry = readdir(listing)) && count < REPLIES;) {
        FILE *file = entry->d_name[0] == '.' ? NULL : fopen(entry->d_name, "rb");
        if (!file) continue;
        struct reply *one = &replies[count++];
        snprintf(one->name, sizeof one->name, "%.60s", entry->d_name);
        fseek(file, 0, SEEK_END);
        one->size = ftell(file);
        rewind(file);
        one->bytes = malloc(one->size);
        if (fread(one->bytes, 1, one->size, file) != one->size) die(entry->d_name);
        fclose(file);
    }
    closedir(listing);
}

static void watch(struct line *line, int operation, uint32_t events) {
    struct epoll_event event = {.events = events, .data.ptr = line};
    epoll_ctl(poller, operation, line->fd, &event);
}

static void drop(struct line *line) {
    close(line->fd);
    line->fd = -1;
    free(line->in);
    line->in = NULL;
    if (!line->waiting) free(line);
}

static size_t piece_end(const struct reply *reply, size_t from) {
    char *zero = memchr(reply->bytes + from, 0, reply->size - from);
    return zero ? (size_t)(zero - reply->bytes) : reply->size;
}

static void wait_for_pace(struct line *line) {
    line->waiting = true;
    line->due += pace;
    line->next = NULL;
    if (last) last->next = line; else first = line;
    last = line;
}

/* Whether the line is still there. */
static bool write_on(struct line *line) {
    while (line->reply && !line->waiting) {
        while (line->sent < line->end) {
            ssize_t n = send(line->fd, line->reply->bytes + line->sent, line->end - line->sent, MSG_NOSIGNAL);
            if (n < 0 && errno == EAGAIN) {
                watch(line, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
                return true;
            }
            if (n <= 0) {
                drop(line);
                return false;
            }
            line->sent += n;
        }
        if (line->end == line->reply->size) {
            line->reply = NULL;
            break;
        }
        line->sent++;
        line->end = piece_end(line->reply, line->sent);
        if (pace > 0) wait_for_pace(line);
    }
    return true;
}

static const struct reply *asked_for(char *body) {
    char *model = strstr(body, "\"model\":");
    if (!model || !(model = strchr(model + 8, '"'))) return NULL;
    size_t length = strcspn(++model, "\"");
    for (int i = 0; i < count; i++)
        if (strlen(replies[i].name) == length && !memcmp(replies[i].name, model, length)) return &replies[i];
    return NULL;
}

/* Begins the reply to a request that is whole. Whether the line is still there. */
static bool answer(struct line *line) {
    while (!line->reply) {
        line->in[line->used] = 0;
        char *body = strstr(line->in, "\r\n\r\n");
        if (!body) return true;
        *body = 0;
        char *length = strcasestr(line->in, "\r\ncontent-length:");
        size_t size = length ? strtoul(length + 17, NULL, 10) : 0;
        *body = '\r';
        body += 4;
        size_t whole = body - line->in + size;
        if (line->used < whole) return true;
        line->reply = asked_for(body);
        if (!line->reply) {
            drop(line);
            return false;
        }
        memmove(line->in, line->in + whole, line->used -= whole);
        line->due = now();
        line->sent = 0;
        line->end = piece_end(line->reply, 0);
        if (!write_on(line)) return false;
    }
    return true;
}

static void hear(struct line *line) {
    if (line->used + 1 >= line->room && line->room < LARGEST)
        line->in = realloc(line->in, line->room *= 2);
    ssize_t n = recv(line->fd, line->in + line->used, line->room - line->used - 1, 0);
    if (n <= 0) {
        if (n == 0 || errno != EAGAIN) drop(line);
        return;
    }
    line->used += n;
    answer(line);
}

static void welcome(int listener) {
    for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0;) {
        int one = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct line *line = calloc(1, sizeof *line);
        line->fd = fd;
        line->in = malloc(line->room = ROOM);
        watch(line, EPOLL_CTL_ADD, EPOLLIN);
    }
}

static void write_what_is_due(void) {
    while (first && first->due <= now()) {
        struct line *line = first;
        if (!(first = line->next)) last = NULL;
        line->waiting = false;
        if (line->fd < 0) free(line);
        else if (write_on(line)) answer(line);
    }
}

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    pace = atof(argv[2]) / 1e3;
    read_replies(argv[1]);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (bind(listener, (struct sockaddr *)&at, size) || listen(listener, BACKLOG)) die("listen");
    getsockname(listener, (struct sockaddr *)&at, &size);
    printf("%d\n", ntohs(at.sin_port));
    fflush(stdout);
    poller = epoll_create1(0);
    struct line door = {.fd = listener}, parent = {.fd = STDIN_FILENO};
    watch(&door, EPOLL_CTL_ADD, EPOLLIN);
    watch(&parent, EPOLL_CTL_ADD, EPOLLIN);
    for (;;) {
        struct epoll_event events[EVENTS];
        double wait = first ? first->due - now() : -1;
        int n = epoll_wait(poller, events, EVENTS, !first ? -1 : wait <= 0 ? 0 : (int)(wait * 1e3) + 1);
        for (int i = 0; i < n; i++) {
            struct line *line = events[i].data.ptr;
            if (line == &parent) return 0;
            else if (line == &door) welcome(listener);
            else if (!(events[i].events & EPOLLOUT)) hear(line);
            else {
                watch(line, EPOLL_CTL_MOD, EPOLLIN);
                if (write_on(line)) answer(line);
            }
        }
        write_what_is_due();
    }
}
