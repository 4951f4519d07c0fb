// No SDK may reach out: a connection to anything but this machine fails the test that made it.
import net from 'node:net';

const connect = net.Socket.prototype.connect;

net.Socket.prototype.connect = function (...given) {
  // net.connect hands over its arguments already normalized: an array whose first entry is the options.
  const options = Array.isArray(given[0]) ? given[0][0] : given[0];
  const host = typeof options === 'object' ? (options.path ? 'localhost' : options.host) : given[1];
  if (!['127.0.0.1', '::1', 'localhost', undefined].includes(host)) {
    throw new Error(`an SDK tried to reach ${host}`);
  }
  return connect.apply(this, given);
};
