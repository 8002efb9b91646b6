// The microphone's samples as 16 bit PCM at 24 kHz. Firefox cannot open a microphone at another rate than its own, so
// the rate is changed here: each new sample is the mean of those that it stands for, which also keeps out what is too high.

const RATE = 24_000;
const FRAME = RATE / 5; // 200 ms

class Pcm extends AudioWorkletProcessor {
  step = sampleRate / RATE;
  frame = new Int16Array(FRAME);
  filled = 0;
  sum = 0;
  weight = 0;

  process([[samples]]) {
    for (const sample of samples ?? []) {
      let left = 1;
      while (this.weight + left >= this.step - 1e-9) {
        const part = this.step - this.weight;
        this.#push((this.sum + part * sample) / this.step);
        left -= part;
        this.sum = this.weight = 0;
      }
      this.sum += left * sample;
      this.weight += left;
    }
    return true;
  }

  #push(value) {
    this.frame[this.filled++] = Math.round(32_767 * Math.min(1, Math.max(-1, value)));
    if (this.filled < FRAME) return;
    this.port.postMessage(this.frame, [this.frame.buffer]);
    this.frame = new Int16Array(FRAME);
    this.filled = 0;
  }
}

registerProcessor('pcm', Pcm);
