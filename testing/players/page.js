// Plays a film from its beginning, as each player's documentation says, and reads the number of every shown frame
// from the blocks at its upper edge (film.py).

const asked = new URLSearchParams(location.search);
const url = asked.get("url");
const video = document.getElementById("video");

// Shown frames as [number, the element's time, the clock's time]; errors; the places of appends in the media source.
// The height of each run of frames, in which a change is a switch to another rung.
// Of each text of the captions its times in the film, and the numbers of the frames that were seen with it.
// The tone of each run of looks that heard one, in hertz.
const seen = { frames: [], errors: [], ended: false, appended: {}, heights: [], cues: {}, tones: [] };
window.seen = seen;

const BLOCKS = 16;
const canvas = new OffscreenCanvas(BLOCKS * 8, 16);
const pen = canvas.getContext("2d", { willReadFrequently: true });

// The number of the shown frame. Bits are white or black, lowest first; below each is its inverse. Null if they differ.
function numberOf(frame) {
  // Two rows, each 2/15 of the height.
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

// Where a player keeps its captions. A viewer chooses the first track as soon as it is there.
let textTracks = () => video.textTracks;
function show({ track }) {
  if (track.kind === "subtitles") setTimeout(() => (track.mode = "showing"));
}
video.textTracks.addEventListener("addtrack", show);

// What is heard, as soon as a player has a second track of sound: only then is the element's sound taken.
let ear = null;
function listen() {
  const context = new AudioContext();
  ear = new AnalyserNode(context, { fftSize: 4096 });
  context.createMediaElementSource(video).connect(ear).connect(context.destination);
}
function hear() {
  const bins = new Float32Array(ear.frequencyBinCount);
  ear.getFloatFrequencyData(bins);
  const loudest = bins.indexOf(Math.max(...bins));
  const tone = bins[loudest] > -60 ? Math.round(loudest * ear.context.sampleRate / ear.fftSize / 20) * 20 : 0;
  if (tone && tone !== seen.tones.at(-1)) seen.tones.push(tone);
}

// The callback for each frame comes too late on a busy machine, so the page also looks in between.
function look() {
  const number = video.videoWidth && !video.seeking ? numberOf(video) : null;
  if (number !== null && number !== seen.frames.at(-1)?.[0]) {
    seen.frames.push([number, video.currentTime, performance.now() / 1000]);
    if (video.videoHeight !== seen.heights.at(-1)) seen.heights.push(video.videoHeight);
    lookForCues(number);
  }
}

function lookForCues(number) {
  for (const track of Array.from(textTracks())) {
    for (const { text, startTime, endTime } of Array.from(track.activeCues ?? [])) {
      (seen.cues[text] ??= [[startTime, endTime], []])[1].push(number);
    }
  }
}

function onFrame() {
  if (ear) hear();
  look();
  video.requestVideoFrameCallback(onFrame);
}

// Seeks to the frame of this number: first by a guess, then by the start of the shown frame plus the frames that are
// missing. (Chromium shows a frame for its declared duration, and the first of a segment declares less.) Returns the
// numbers of the shown frames, and their start times.
window.lookFor = async (wanted, at, rate) => {
  video.pause();
  const found = [];
  for (let tries = 0; tries < 8 && found.at(-1)?.[0] !== wanted; tries++) {
    const [number, begins] = await sought(at);
    found.push([number, begins]);
    at = number === null ? at + 0.1 / rate : begins + (wanted - number) / rate + 0.002;
  }
  return found;
};

// The number and the time of the frame after a seek; only the browser knows when it is on the screen.
async function sought(at) {
  const presented = new Promise((resolve) =>
    video.requestVideoFrameCallback((_, { mediaTime }) => resolve(mediaTime)));
  video.currentTime = at;
  const begins = await Promise.race([presented, pause(4000)]);
  for (let looks = 0; video.seeking && looks < 100; looks++) await pause(50);
  await pause(100);
  const number = numberOf(video);
  if (number !== null) lookForCues(number);
  return [number, begins ?? video.currentTime];
}

function pause(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

function fail(what) {
  seen.errors.push(String(what));
}

// The place of each append on the timeline: the decode time of its first fragment plus the buffer's timestampOffset.
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

// Has a player take another rung four times: once it knows its rungs, and then when it shows the last one, which is
// known by its height, and a second and a half have passed. (Shaka takes the film to be as long as it knew the sound,
// where it first loads a rung as the film becomes complete.) `rungs` gives the heights of the rungs.
function switchRungs(rungs, take) {
  let taken = 0, since = 0;
  const timer = setInterval(() => {
    const heights = rungs();
    const isShown = !taken || seen.heights.at(-1) === heights[(taken - 1) % heights.length];
    if (heights.length < 2 || !isShown || performance.now() - since < 1500) return;
    take(taken++ % heights.length);
    since = performance.now();
    if (taken === 4) clearInterval(timer);
  }, 100);
}

const players = {
  async native() {
    const master = await (await fetch(url)).text();
    const rung = master.split("\n").find((line) => line && !line.startsWith("#"));
    // This player reads a playlist once, and ends at its end: then it is opened again at that time.
    const read = async () => {
      const text = await (await fetch(new URL(rung, url))).text();
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
    hls.on(Hls.Events.AUDIO_TRACKS_UPDATED, (_, { audioTracks }) => audioTracks.length > 1 && !ear && listen());
    // The other track of sound, as soon as the first has been heard.
    const timer = setInterval(() => {
      if (!seen.tones.length || hls.audioTracks.length < 2) return;
      hls.audioTrack = 1;
      clearInterval(timer);
    }, 200);
    hls.loadSource(url);
    hls.attachMedia(video);
    switchRungs(() => hls.levels.map(({ height }) => height), (number) => (hls.nextLevel = number));
  },
  async videojs() {
    await script("./node_modules/video.js/dist/video.js");
    const player = window.videojs(video, { html5: { vhs: { overrideNative: true } } });
    player.on("error", () => fail(player.error()?.message));
    textTracks = () => player.textTracks();
    player.textTracks().on("addtrack", show);
    player.src({ src: url, type: "application/vnd.apple.mpegurl" });
    const rungs = () => player.tech(true).vhs?.representations() ?? [];
    switchRungs(() => rungs().map(({ height }) => height), (number) => {
      rungs().forEach((rung, at) => rung.enabled(at === number));
    });
  },
  async dashjs() {
    await script("./node_modules/dashjs/dist/modern/umd/dash.all.min.js");
    const player = window.dashjs.MediaPlayer().create();
    // What is loaded is shown: with more ahead, the film would be loaded before a rung is switched.
    const ahead = { bufferTimeDefault: 4, bufferTimeAtTopQuality: 4, bufferTimeAtTopQualityLongForm: 4 };
    player.updateSettings({ streaming: { buffer: ahead, abr: { autoSwitchBitrate: { video: false } } } });
    player.on("error", ({ error }) => fail(`dash.js ${error.code} ${error.message}`));
    player.initialize(video, url, false);
    const rungs = () => (player.isReady() ? player.getRepresentationsByType("video") : []);
    switchRungs(() => rungs().map(({ height }) => height), (number) => {
      player.setRepresentationForTypeByIndex("video", number);
    });
  },
  async shaka() {
    await script("./node_modules/shaka-player/dist/shaka-player.compiled.js");
    const player = new window.shaka.Player();
    player.addEventListener("error", ({ detail }) => fail(`shaka ${detail.code}`));
    await player.attach(video);
    await player.load(url, 0);
    player.selectTextTrack(player.getTextTracks()[0]);
    player.configure({ abr: { enabled: false } });
    const rungs = () => player.getVariantTracks();
    switchRungs(() => rungs().map(({ height }) => height), (number) => player.selectVariantTrack(rungs()[number]));
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
setInterval(look, 50); // a frame is there for 200 ms
try {
  if (asked.get("player") !== "native") video.addEventListener("ended", () => (seen.ended = true));
  await players[asked.get("player")]();
  await video.play();
} catch (error) {
  fail(error);
}
