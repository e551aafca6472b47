import java.io.FileInputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.time.Duration;
import java.util.Base64;
import java.util.List;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

/** Uses java.net.http over HTTP/1.1; see README.md. */
class Kept {
    public static void main(String[] arguments) throws Exception {
        List<String> lines = new String(System.in.readAllBytes()).lines().toList();
        int count = Integer.parseInt(lines.get(0));
        byte[] body = Base64.getDecoder().decode(lines.get(2));
        String good = lines.get(3);
        List<String> refused = lines.subList(4, lines.size());
        HttpClient.Builder builder = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1);
        if (!lines.get(1).equals("-")) {
            builder.sslContext(trusting(lines.get(1)));
        }
        HttpClient client = builder.build();
        for (int nth = 0; nth < count; nth++) {
            String target = nth % 3 == 2 ? refused.get(nth / 3 % refused.size()) : good;
            HttpRequest request = HttpRequest.newBuilder(URI.create(target))
                    .timeout(Duration.ofSeconds(30))
                    .header("TTL", "0")
                    .header("Content-Encoding", "aes128gcm")
                    .POST(BodyPublishers.ofByteArray(body))
                    .build();
            try {
                System.out.println(client.send(request, BodyHandlers.ofString()).statusCode());
            } catch (java.io.IOException error) {
                System.out.println(error.toString().replace('\n', ' '));
            }
        }
    }

    private static SSLContext trusting(String file) throws Exception {
        KeyStore trusted = KeyStore.getInstance(KeyStore.getDefaultType());
        trusted.load(null, null);
        try (FileInputStream pem = new FileInputStream(file)) {
            trusted.setCertificateEntry("authority", CertificateFactory.getInstance("X.509").generateCertificate(pem));
        }
        TrustManagerFactory managers = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        managers.init(trusted);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, managers.getTrustManagers(), null);
        return context;
    }
}
