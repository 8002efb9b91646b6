// Live captions over a WebSocket: OpenAI's realtime transcription, with our `dragoman.partial` and translations.

import { address, key, refusal, ServerError } from './api.js';

export const RATE = 24_000;
const ROAD = 'v1/realtime';
const ENDING_MS = 15_000;

export class Realtime {
  #socket;
  #ended = null;
  #begun = false;
  #open = new Set();

  /** `on` has `ready`, `partial(event)`, `final(event)` and `failed(ServerError)`. Raises a ServerError. */
  constructor(transcription, on) {
    const url = address(`${ROAD}?intent=transcription`);
    url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
    const protocols = key.get() ? ['realtime', `openai-insecure-api-key.${key.get()}`] : ['realtime'];
    try {
      this.#socket = new WebSocket(url, protocols);
    } catch {
      throw new ServerError('A browser cannot send this server’s key for live captions: it may have no spaces and few signs.');
    }
    this.on = on;
    this.#socket.onmessage = ({ data }) => this.#take(JSON.parse(data), transcription);
    this.#socket.onclose = async () => {
      if (this.#ended) this.#ended();
      else on.failed((!this.#begun && (await refusal(ROAD))) || new ServerError('The connection to the server broke.'));
    };
  }

  /** Int16Array, mono at RATE. */
  send(samples) {
    if (this.#socket.readyState !== WebSocket.OPEN) return;
    this.#say({ type: 'input_audio_buffer.append', audio: base64(new Uint8Array(samples.buffer)) });
  }

  /** End what is open, wait for its text, and close. */
  async end() {
    if (this.#socket.readyState !== WebSocket.OPEN) return;
    await new Promise((resolve) => {
      this.#ended = resolve;
      this.#say({ type: 'input_audio_buffer.commit' });
      setTimeout(resolve, this.#open.size ? ENDING_MS : 1500);
    });
    this.#socket.close();
  }

  #say(event) {
    this.#socket.send(JSON.stringify(event));
  }

  #take(event, transcription) {
    const item = event.item_id;
    switch (event.type) {
      case 'session.created':
        this.#begun = true;
        this.#say({
          type: 'session.update',
          session: {
            type: 'transcription',
            audio: { input: { format: { type: 'audio/pcm', rate: RATE }, transcription } },
          },
        });
        break;
      case 'session.updated':
        this.on.ready();
        break;
      case 'input_audio_buffer.speech_started':
        this.#open.add(item);
        break;
      case 'dragoman.partial':
        this.#open.add(item);
        this.on.partial(event);
        break;
      case 'conversation.item.input_audio_transcription.completed':
        this.#open.delete(item);
        this.on.final(event);
        if (this.#ended && !this.#open.size) this.#ended();
        break;
      case 'conversation.item.input_audio_transcription.failed':
      case 'error':
        if (!this.#ended) this.on.failed(new ServerError(event.error.message, 400));
        break;
      default: // what OpenAI's clients need and the page does not
    }
  }
}

function base64(bytes) {
  let text = '';
  for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return btoa(text);
}
