// Web Push by WebCrypto: message encryption (RFC 8291 over RFC 8188) and VAPID
// (RFC 8292), with P-256 and one record per message.

const text = new TextEncoder();
const RECORD_SIZE = 4096;
const HEADER = 16 + 4 + 1;
const TAG = 16;

export function toBase64url(bytes) {
  const binary = Array.from(new Uint8Array(bytes), (byte) => String.fromCharCode(byte)).join("");
  return btoa(binary).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

export function fromBase64url(encoded) {
  const binary = atob(encoded.replaceAll("-", "+").replaceAll("_", "/"));
  return Uint8Array.from(binary, (character) => character.charCodeAt(0));
}

function joined(...parts) {
  const whole = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

async function raw(key) {
  return new Uint8Array(await crypto.subtle.exportKey("raw", key));
}

async function hkdf(salt, secret, info, length) {
  const key = await crypto.subtle.importKey("raw", secret, "HKDF", false, ["deriveBits"]);
  const parameters = { name: "HKDF", hash: "SHA-256", salt, info };
  return new Uint8Array(await crypto.subtle.deriveBits(parameters, key, 8 * length));
}

/** The content encryption key and nonce of one message (RFC 8291 §3.4). */
async function contentKey({ privateKey, other, userAgentKey, senderKey, auth, salt }, use) {
  const point = await crypto.subtle.importKey("raw", other, { name: "ECDH", namedCurve: "P-256" }, false, []);
  const shared = await crypto.subtle.deriveBits({ name: "ECDH", public: point }, privateKey, 256);
  const info = joined(text.encode("WebPush: info\0"), userAgentKey, senderKey);
  const secret = await hkdf(auth, new Uint8Array(shared), info, 32);
  const key = await hkdf(salt, secret, text.encode("Content-Encoding: aes128gcm\0"), 16);
  const nonce = await hkdf(salt, secret, text.encode("Content-Encoding: nonce\0"), 12);
  return { key: await crypto.subtle.importKey("raw", key, "AES-GCM", false, [use]), nonce };
}

/** The keys that a user agent creates for one subscription. */
export class UserAgentKeys {
  static async make() {
    const keys = new UserAgentKeys();
    keys.pair = await crypto.subtle.generateKey({ name: "ECDH", namedCurve: "P-256" }, false, ["deriveBits"]);
    keys.public = await raw(keys.pair.publicKey);
    keys.auth = crypto.getRandomValues(new Uint8Array(16));
    return keys;
  }

  /** The same as `PushSubscription.toJSON().keys`. */
  toJSON() {
    return { p256dh: toBase64url(this.public), auth: toBase64url(this.auth) };
  }

  /** Decrypts an aes128gcm body to its text. Throws if it is encrypted for other keys. */
  async decrypt(body) {
    const salt = body.subarray(0, 16);
    const keyEnd = HEADER + body[HEADER - 1];
    const senderKey = body.subarray(HEADER, keyEnd);
    const { key, nonce } = await contentKey(
      {
        privateKey: this.pair.privateKey,
        other: senderKey,
        userAgentKey: this.public,
        senderKey,
        auth: this.auth,
        salt,
      },
      "decrypt",
    );
    const opened = await crypto.subtle.decrypt({ name: "AES-GCM", iv: nonce }, key, body.subarray(keyEnd));
    const padded = new Uint8Array(opened);
    // The last record ends with 2, then padding (RFC 8188 §2).
    const end = padded.lastIndexOf(2);
    return new TextDecoder().decode(padded.subarray(0, end));
  }
}

/** Encrypts a message for a subscription as an aes128gcm body. */
export async function encrypt(subscription, message) {
  const userAgentKey = fromBase64url(subscription.keys.p256dh);
  const auth = fromBase64url(subscription.keys.auth);
  const pair = await crypto.subtle.generateKey({ name: "ECDH", namedCurve: "P-256" }, false, ["deriveBits"]);
  const senderKey = await raw(pair.publicKey);
  const salt = crypto.getRandomValues(new Uint8Array(16));
  const { key, nonce } = await contentKey(
    { privateKey: pair.privateKey, other: userAgentKey, userAgentKey, senderKey, auth, salt },
    "encrypt",
  );
  const record = joined(text.encode(message), Uint8Array.of(2));
  const header = joined(salt, new Uint8Array(4), Uint8Array.of(senderKey.length), senderKey);
  new DataView(header.buffer).setUint32(16, RECORD_SIZE);
  if (header.length + record.length + TAG > RECORD_SIZE) throw new Error("The message is too long for one push.");
  const sealed = await crypto.subtle.encrypt({ name: "AES-GCM", iv: nonce }, key, record);
  return joined(header, new Uint8Array(sealed));
}

/** The key pair of an application server. */
export class VapidKeys {
  static async make() {
    const keys = new VapidKeys();
    keys.pair = await crypto.subtle.generateKey({ name: "ECDSA", namedCurve: "P-256" }, true, ["sign", "verify"]);
    keys.publicKey = toBase64url(await raw(keys.pair.publicKey));
    keys.privateKey = (await crypto.subtle.exportKey("jwk", keys.pair.privateKey)).d;
    return keys;
  }

  toJSON() {
    return { publicKey: this.publicKey, privateKey: this.privateKey };
  }

  /** The `Authorization` field of a push to this endpoint, valid for an hour. */
  async authorization(endpoint) {
    const claims = { aud: new URL(endpoint).origin, exp: Math.floor(Date.now() / 1000) + 3600 };
    const parts = [{ typ: "JWT", alg: "ES256" }, claims].map((part) => toBase64url(text.encode(JSON.stringify(part))));
    const signed = parts.join(".");
    const algorithm = { name: "ECDSA", hash: "SHA-256" };
    const signature = await crypto.subtle.sign(algorithm, this.pair.privateKey, text.encode(signed));
    return `vapid t=${signed}.${toBase64url(signature)}, k=${this.publicKey}`;
  }
}
