// Plays a film from its beginning, as each player's own documentation says, and reads the number of every
// frame that is shown from the blocks at its upper edge (film.py).

const asked = new URLSearchParams(location.search);
const url = asked.get("url");
const video = document.getElementById("video");

// Frames as they are shown: [number, the element's time, the clock]; errors; where the media source was told to put what.
const seen = { frames: [], errors: [], ended: false, appended: {} };
window.seen = seen;

const BLOCKS = 16;
const canvas = new OffscreenCanvas(BLOCKS * 8, 16);
const pen = canvas.getContext("2d", { willReadFrequently: true });

// Bits are white or black, lowest first; below each is its opposite. Null where it is not so.
function numberOf(frame) {
  // Two rows, each two fifteenths high.
  pen.drawImage(frame, 0, 0, frame.videoWidth, frame.videoHeight * 4 / 15, 0, 0, canvas.width, 16);
  const { data } = pen.getImageData(0, 0, canvas.width, 16);
  let number = 0;
  for (let bit = 0; bit < BLOCKS; bit++) {
    const [above, below] = [4, 12].map((y) => data[4 * (y * canvas.width + bit * 8 + 4)] > 127);
    if (above === below) return null;
    if (above) number |= 1 << bit;
  }
  return number;
}

// A callback for each frame comes too late on a busy machine: in between it is looked as well.
function look() {
  const number = video.videoWidth && !video.seeking ? numberOf(video) : null;
  if (number !== null && number !== seen.frames.at(-1)?.[0]) {
    seen.frames.push([number, video.currentTime, performance.now() / 1000]);
  }
}

function onFrame() {
  look();
  video.requestVideoFrameCallback(onFrame);
}

// Whether the frame of this number is there: sought at a time, and from the frame that is found there.
window.lookFor = async (wanted, at, rate) => {
  video.pause();
  for (let tries = 0; tries < 8; tries++) {
    video.currentTime = at;
    const found = await settled();
    if (found === wanted) return true;
    if (found !== null) at += (wanted - found) / rate;
  }
  return false;
};

// The number on the screen once it stays for half a second. Just after a seek it may be the one before.
async function settled() {
  let number = null;
  for (let looks = 0, same = 0; looks < 100 && same < 10; looks++) {
    await new Promise((resolve) => setTimeout(resolve, 50));
    const now = video.seeking ? null : numberOf(video);
    same = now !== null && now === number ? same + 1 : 0;
    number = now;
  }
  return number;
}

function fail(what) {
  seen.errors.push(String(what));
}

// Where players say that a track's first fragment belongs, as the decode time in it plus the buffer's offset.
const append = SourceBuffer.prototype.appendBuffer;
const kinds = new WeakMap();
const add = MediaSource.prototype.addSourceBuffer;
MediaSource.prototype.addSourceBuffer = function (type) {
  const buffer = add.call(this, type);
  kinds.set(buffer, type.startsWith("audio") ? "audio" : "video");
  return buffer;
};
SourceBuffer.prototype.appendBuffer = function (data) {
  const kind = kinds.get(this);
  const bytes = data instanceof ArrayBuffer ? new Uint8Array(data) : new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  const told = (seen.appended[kind] ??= { scale: 0, starts: [] });
  told.scale = told.scale || scaleOf(bytes);
  const time = decodeTimeOf(bytes);
  if (time !== null) told.starts.push(time / told.scale + this.timestampOffset);
  return append.call(this, data);
};

function find(bytes, name) {
  const codes = [...name].map((letter) => letter.charCodeAt(0));
  for (let at = 4; at < bytes.length - 24; at++) {
    if (codes.every((code, n) => bytes[at + n] === code)) return new DataView(bytes.buffer, bytes.byteOffset + at + 4);
  }
  return null;
}

function scaleOf(bytes) {
  const mdhd = find(bytes, "mdhd");
  return mdhd && mdhd.getUint32(mdhd.getUint8(0) ? 20 : 12);
}

function decodeTimeOf(bytes) {
  const tfdt = find(bytes, "tfdt");
  return tfdt && (tfdt.getUint8(0) ? Number(tfdt.getBigUint64(4)) : tfdt.getUint32(4));
}

const players = {
  async native() {
    // It reads a list once, and ends where that has ended: then it is opened again, there.
    const read = async () => {
      const text = await (await fetch(new URL("video.m3u8", url))).text();
      const lengths = [...text.matchAll(/#EXTINF:([\d.]+)/g)].map(([, seconds]) => Number(seconds));
      return { whole: text.includes("#EXT-X-ENDLIST"), end: lengths.reduce((sum, each) => sum + each, 0) };
    };
    video.addEventListener("ended", async () => {
      const at = video.currentTime;
      let list = await read();
      while (list.end < at + 0.1) {
        if (list.whole) return void (seen.ended = true);
        await new Promise((resolve) => setTimeout(resolve, 500));
        list = await read();
      }
      video.load();
      video.currentTime = at;
      await video.play();
    });
    video.src = url;
  },
  async hls() {
    const { default: Hls } = await import("./node_modules/hls.js/dist/hls.mjs");
    const hls = new Hls();
    hls.on(Hls.Events.ERROR, (_, error) => error.fatal && fail(error.details));
    hls.loadSource(url);
    hls.attachMedia(video);
  },
  async videojs() {
    await script("./node_modules/video.js/dist/video.js");
    const player = window.videojs(video, { html5: { vhs: { overrideNative: true } } });
    player.on("error", () => fail(player.error()?.message));
    player.src({ src: url, type: "application/vnd.apple.mpegurl" });
  },
  async shaka() {
    await script("./node_modules/shaka-player/dist/shaka-player.compiled.js");
    const player = new window.shaka.Player();
    player.addEventListener("error", ({ detail }) => fail(`shaka ${detail.code}`));
    await player.attach(video);
    await player.load(url, 0);
  },
};

function script(src) {
  return new Promise((resolve, reject) => {
    const element = Object.assign(document.createElement("script"), { src, onload: resolve, onerror: reject });
    document.head.append(element);
  });
}

video.addEventListener("error", () => fail(video.error.message));

video.requestVideoFrameCallback(onFrame);
setInterval(look, 20);
try {
  if (asked.get("player") !== "native") video.addEventListener("ended", () => (seen.ended = true));
  await players[asked.get("player")]();
  await video.play();
} catch (error) {
  fail(error);
}
