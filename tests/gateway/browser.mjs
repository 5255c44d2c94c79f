// A client as a browser's page has it: the platform's own WebSocket, the key as a subprotocol.
//
//   node browser.mjs URL KEY FILE SIZE
//
// Sends the file in pieces of SIZE bytes, closes the stream in order, and prints what came.
import { readFileSync } from "node:fs";

const [url, key, file, size] = process.argv.slice(2);
const audio = readFileSync(file);
const socket = new WebSocket(url, ["token", key]);
socket.binaryType = "arraybuffer";
const messages = [];

socket.onmessage = ({ data }) => messages.push(data);
socket.onclose = ({ code, reason }) =>
  console.log(JSON.stringify({ code, reason, protocol: socket.protocol, messages }));
socket.onopen = async () => {
  for (let at = 0; at < audio.length; at += Number(size)) {
    socket.send(audio.subarray(at, at + Number(size)));
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  socket.send(JSON.stringify({ type: "CloseStream" }));
};
