// Says hello to every request.
const http = require("http");

http.createServer((request, response) => {
  response.writeHead(200, { "Content-Type": "text/plain" });
  response.end("hello from node\n");
}).listen(Number(process.env.PORT || 8080));

process.on("SIGTERM", () => process.exit(0)); // as process 1 it would be ignored
