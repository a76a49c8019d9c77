// A server of the protocol's shape on Node's ws: `node server.js PORT CONTROL [CERTIFICATE KEY]`. Updates come as lines "BUG WHEN" at the port
// CONTROL.
'use strict';
const fs = require('fs');
const http = require('http');
const https = require('https');
const net = require('net');
const readline = require('readline');
const { WebSocketServer } = require('ws');

const [port, control] = process.argv.slice(2, 4).map(Number);
const [certificate, key] = process.argv.slice(4);
const subscribers = new Map();

const server = certificate
  ? https.createServer({ cert: fs.readFileSync(certificate), key: fs.readFileSync(key) })
  : http.createServer();
server.listen({ host: '127.0.0.1', port, backlog: 4096 });
new WebSocketServer({ server, clientTracking: false }).on('connection', (socket) => {
  const bugs = new Set();
  socket.on('error', () => {});
  socket.on('message', (data) => {
    const message = JSON.parse(data);
    for (const bug of message.bugs) {
      bugs.add(bug);
      if (!subscribers.has(bug)) subscribers.set(bug, new Set());
      subscribers.get(bug).add(socket);
    }
    socket.send(JSON.stringify({ command: 'subscribe', result: 'ok', bugs: [...bugs] }));
  });
  socket.on('close', () => {
    for (const bug of bugs) {
      const sockets = subscribers.get(bug);
      sockets.delete(socket);
      if (sockets.size === 0) subscribers.delete(bug);
    }
  });
});

net.createServer((stream) => {
  readline.createInterface({ input: stream }).on('line', (line) => {
    const [bug, when] = line.split(' ');
    const text = JSON.stringify({ command: 'update', bug: Number(bug), when });
    for (const socket of subscribers.get(Number(bug)) ?? []) socket.send(text);
  });
}).listen(control, '127.0.0.1');
