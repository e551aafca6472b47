// A user agent of the push WebSocket protocol with one subscription.

import { UserAgentKeys, fromBase64url } from "./webpush.js";

const DECRYPTED = 100;
const NOT_DECRYPTED = 101;

/** A connected user agent with one subscription. */
export class UserAgent {
  /**
   * Connects, sends `hello` and registers. Calls `onPush` with `{ text, version }` or
   * `{ problem, version }`, and `onEnd` with a sentence when the connection ends.
   */
  static subscribe(server, applicationServerKey, { onPush, onEnd }) {
    return new Promise((resolve, reject) => {
      const agent = new UserAgent();
      agent.channel = crypto.randomUUID();
      agent.onPush = onPush;
      agent.socket = new WebSocket(server);
      agent.socket.onopen = () => agent.say({ messageType: "hello", use_webpush: true, broadcasts: {} });
      agent.socket.onclose = ({ code, reason }) => {
        const why = `The connection ended with ${code}${reason ? ` (${reason})` : ""}.`;
        reject(new Error(`${server} cannot be used as a push server. ${why}`));
        onEnd(why);
      };
      agent.socket.onmessage = ({ data }) =>
        agent.receive(JSON.parse(data), applicationServerKey, resolve, reject).catch(reject);
    });
  }

  say(message) {
    this.socket.send(JSON.stringify(message));
  }

  async receive(message, key, resolve, reject) {
    switch (message.messageType) {
      case "hello":
        this.say({ messageType: "register", channelID: this.channel, key });
        break;
      case "register":
        if (message.status !== 200) {
          reject(new Error(`The service refused the subscription with ${message.status}.`));
          break;
        }
        this.keys = await UserAgentKeys.make();
        this.subscription = {
          endpoint: message.pushEndpoint,
          expirationTime: null,
          keys: this.keys.toJSON(),
        };
        resolve(this);
        break;
      case "notification":
        await this.notified(message);
        break;
    }
  }

  async notified({ channelID, version, data, headers }) {
    let code = DECRYPTED;
    try {
      if (data && headers?.encoding !== "aes128gcm") throw new Error(`Encoded as ${headers?.encoding}.`);
      this.onPush({ text: data ? await this.keys.decrypt(fromBase64url(data)) : "", version });
    } catch (error) {
      code = NOT_DECRYPTED;
      this.onPush({ problem: `This push could not be decrypted. ${error.message ?? ""}`, version });
    }
    this.say({ messageType: "ack", updates: [{ channelID, version, code }] });
  }

  /** Ends the subscription and the connection. */
  unsubscribe() {
    this.say({ messageType: "unregister", channelID: this.channel, code: 200 });
    this.socket.onclose = null;
    this.socket.close(1000);
  }
}
