/* app.c - says hello to everybody who connects: a source for the builder c. */
#include <arpa/inet.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static void leave(int signal_number)
{
    (void)signal_number;
    _exit(0);
}

int main(void)
{
    static const char hello[] =
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n"
        "Connection: close\r\n\r\nhello from c\n";
    const char *port = getenv("PORT");
    struct sockaddr_in here = {.sin_family = AF_INET,
                               .sin_port = htons((uint16_t)(port ? strtol(port, NULL, 10) : 8080))};
    int on = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    char request[4096];

    signal(SIGTERM, leave); /* as process 1 it would be ignored */
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(listener, (struct sockaddr *)&here, sizeof(here)) < 0 || listen(listener, 16) < 0) {
        perror("listen");
        return 1;
    }
    for (;;) {
        int client = accept(listener, NULL, NULL);
        if (read(client, request, sizeof(request)) > 0 &&
            write(client, hello, sizeof(hello) - 1) < 0)
            perror("write");
        close(client);
    }
}
