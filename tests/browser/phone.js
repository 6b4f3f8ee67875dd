// A phone in a page, for tests: window.phone, driven from Python by tests/browser/__init__.py. JsSIP does the SIP and
// the browser the media, from its fake microphone. Everything that happens is an event [name, detail] in a list, and
// `until` waits for one from a place in that list, so that nothing is missed between two calls.
"use strict";

class Phone {
  constructor() {
    this.events = [];
    this.waiting = [];
    this.session = null;
  }

  note(name, detail = null) {
    this.events.push([name, detail]);
    this.waiting = this.waiting.filter((look) => !look());
  }

  // The first event of one of these names from `from` on: [its place, name, detail].
  until(names, from, ms) {
    const find = () => {
      const at = this.events.findIndex(([name], place) => place >= from && names.includes(name));
      return at < 0 ? null : [at, ...this.events[at]];
    };
    return new Promise((resolve, reject) => {
      const found = find();
      if (found) return resolve(found);
      const look = () => {
        const later = find();
        if (later) resolve(later);
        return Boolean(later);
      };
      this.waiting.push(look);
      setTimeout(() => {
        this.waiting = this.waiting.filter((each) => each !== look);
        reject(new Error(`no ${names.join(" or ")} in ${ms} ms; events: ${JSON.stringify(this.events)}`));
      }, ms);
    });
  }

  // `options` are JsSIP's: uri, password, register_expires...
  start(server, options) {
    const socket = new JsSIP.WebSocketInterface(server);
    this.ua = new JsSIP.UA({ sockets: [socket], register: false, session_timers: false, ...options });
    this.ua.on("connected", () => this.note("connected"));
    this.ua.on("disconnected", (e) => this.note("disconnected", e.code ?? null));
    this.ua.on("registered", (e) => this.note("registered", e.response.status_code));
    this.ua.on("unregistered", () => this.note("unregistered"));
    this.ua.on("registrationFailed", (e) => this.note("registrationFailed", e.response?.status_code ?? e.cause));
    this.ua.on("newRTCSession", (e) => (e.originator === "remote" ? this.ring(e) : this.watch(e.session)));
    this.ua.on("newMessage", (e) => e.originator === "remote" && this.note("message", e.request.body));
    this.ua.start();
  }

  register() {
    this.ua.register();
  }

  unregister() {
    this.ua.unregister();
  }

  media() {
    return { mediaConstraints: { audio: true, video: false }, pcConfig: { iceServers: [] } };
  }

  watch(session) {
    this.session = session;
    session.on("progress", (e) => this.note("progress", e.response?.status_code ?? null));
    session.on("accepted", (e) => this.note("accepted", e.response?.status_code ?? null));
    session.on("confirmed", () => this.note("confirmed"));
    session.on("ended", (e) => this.note("ended", [e.originator, e.cause]));
    session.on("failed", (e) => this.note("failed", e.message?.status_code ?? e.cause));
    const listen = (connection) =>
      connection.addEventListener("track", (e) => {
        document.getElementById("ear").srcObject = e.streams[0] ?? new MediaStream([e.track]);
        this.note("track", e.track.kind);
      });
    if (session.connection) listen(session.connection);
    else session.on("peerconnection", (e) => listen(e.peerconnection));
  }

  ring({ session, request }) {
    this.watch(session);
    this.note("ringing", request.from.uri.toString());
  }

  call(target) {
    this.ua.call(target, this.media());
  }

  answer() {
    this.session.answer(this.media());
  }

  hangUp(options) {
    this.session.terminate(options);
  }

  say(target, text) {
    this.ua.sendMessage(target, text, {
      eventHandlers: {
        succeeded: (e) => this.note("said", e.response.status_code),
        failed: (e) => this.note("unsaid", e.response?.status_code ?? e.cause),
      },
    });
  }

  // Packets of sound that were received so far.
  async heard() {
    const stats = await this.session.connection.getStats();
    return [...stats.values()].filter((s) => s.type === "inbound-rtp").reduce((n, s) => n + s.packetsReceived, 0);
  }

  stop() {
    this.ua.stop();
  }
}

window.phone = new Phone();
