// The microphone: recorded to a file, and, for live captions, as PCM too.

import { ServerError } from './api.js';

const KINDS = ['audio/webm;codecs=opus', 'audio/mp4', 'audio/ogg;codecs=opus']; // Safari has only the second

const REASONS = {
  NotAllowedError: 'The microphone was not allowed. Allow it in the browser’s settings of this page.',
  NotFoundError: 'There is no microphone.',
  NotReadableError: 'The microphone is used by another program.',
};

export class Microphone {
  #stream;
  #context;
  #recorder;
  #pieces = [];
  #analyser;

  /** `onFrame` gets Int16Array, mono at 24 kHz, 200 ms each. Raises a ServerError that says what is in the way. */
  static async open(onFrame = null) {
    const microphone = new Microphone();
    try {
      await microphone.#start(onFrame);
    } catch (error) {
      microphone.#close();
      throw error;
    }
    return microphone;
  }

  async #start(onFrame) {
    if (!window.isSecureContext || !navigator.mediaDevices) {
      throw new ServerError('Browsers give the microphone only to pages over https, or on localhost.');
    }
    try {
      this.#stream = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1 } });
    } catch (error) {
      throw new ServerError(REASONS[error.name] ?? `The microphone cannot be used: ${error.message}`);
    }
    this.#context = new AudioContext();
    const source = this.#context.createMediaStreamSource(this.#stream);
    this.#analyser = new AnalyserNode(this.#context, { fftSize: 1024 });
    source.connect(this.#analyser);
    if (onFrame) await this.#capture(source, onFrame);
    const mimeType = KINDS.find((kind) => MediaRecorder.isTypeSupported(kind));
    this.#recorder = new MediaRecorder(this.#stream, { mimeType });
    this.#recorder.ondataavailable = ({ data }) => this.#pieces.push(data);
    this.#recorder.start(1000);
    this.startedAt = performance.now();
  }

  async #capture(source, onFrame) {
    await this.#context.audioWorklet.addModule(new URL('worklet.js', import.meta.url));
    const node = new AudioWorkletNode(this.#context, 'pcm', { numberOfOutputs: 0, channelCount: 1, channelCountMode: 'explicit' });
    node.port.onmessage = ({ data }) => onFrame(data);
    source.connect(node);
  }

  get seconds() {
    return (performance.now() - this.startedAt) / 1000;
  }

  /** How loud it is now, 0..1: -60 dB is 0. */
  get level() {
    const samples = new Float32Array(this.#analyser.fftSize);
    this.#analyser.getFloatTimeDomainData(samples);
    const power = samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length;
    return Math.min(1, Math.max(0, 1 + (10 * Math.log10(power + 1e-12)) / 60));
  }

  /** Stop, and give what was recorded as a File. */
  async stop() {
    await new Promise((resolve) => {
      this.#recorder.onstop = resolve;
      this.#recorder.stop();
    });
    this.#close();
    const type = this.#recorder.mimeType;
    const ending = type.includes('mp4') ? 'm4a' : type.includes('ogg') ? 'ogg' : 'webm';
    return new File(this.#pieces, `Recording ${stamp()}.${ending}`, { type });
  }

  #close() {
    for (const track of this.#stream?.getTracks() ?? []) track.stop();
    this.#context?.close();
  }
}

function stamp() {
  const now = new Date();
  const two = (value) => String(value).padStart(2, '0');
  return `${now.getFullYear()}-${two(now.getMonth() + 1)}-${two(now.getDate())} ${two(now.getHours())}.${two(now.getMinutes())}`;
}
