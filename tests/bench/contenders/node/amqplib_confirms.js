// amqplib (Node.js) as its documentation shows it: confirm channel, callbacks, one acknowledgement
// per message.
//
//     node amqplib_confirms.js AMQP_URL PREFETCH INPUT OUTPUT AGENT...

import amqplib from "amqplib";

const [url, prefetch, input, output, ...agents] = process.argv.slice(2);

function route(message) {
  const sender = message.sender_id ?? "unknown";
  let receiver;
  do receiver = agents[Math.floor(Math.random() * agents.length)];
  while (receiver === sender);
  message.receiver_id = receiver;
  delete message._client_id;
  delete message._broadcast;
  delete message._target_agent_id;
  return message;
}

const connection = await amqplib.connect(url);
const channel = await connection.createConfirmChannel();
await channel.prefetch(Number(prefetch));
await channel.assertQueue(input, { durable: true });
await channel.assertQueue(output, { durable: true });
await channel.consume(input, (message) => {
  const routed = Buffer.from(JSON.stringify(route(JSON.parse(message.content))));
  const options = { persistent: true, mandatory: true, contentType: "application/json" };
  channel.publish("", output, routed, options, (refused) => {
    if (refused) throw refused;
    channel.ack(message);
  });
});
