// Maven: nl.martijndwars:web-push:5.1.1, org.bouncycastle:bcprov-jdk18on, com.google.code.gson:gson
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.Security;
import nl.martijndwars.webpush.Notification;
import nl.martijndwars.webpush.PushService;
import org.bouncycastle.jce.provider.BouncyCastleProvider;

public class Send {
    private static JsonObject read(String file) throws Exception {
        return JsonParser.parseString(Files.readString(Path.of(file))).getAsJsonObject();
    }

    public static void main(String[] args) throws Exception {
        Security.addProvider(new BouncyCastleProvider());
        JsonObject subscription = read("subscription.json");
        JsonObject userAgentKeys = subscription.getAsJsonObject("keys");
        JsonObject keys = read("vapid.json");

        PushService sender = new PushService(
            keys.get("publicKey").getAsString(),
            keys.get("privateKey").getAsString(),
            "mailto:push@example.org");
        Notification message = new Notification(
            subscription.get("endpoint").getAsString(),
            userAgentKeys.get("p256dh").getAsString(),
            userAgentKeys.get("auth").getAsString(),
            "hello from Java".getBytes(StandardCharsets.UTF_8),
            3600);

        // 404 and 410: delete the subscription. 429 and 503: try again after Retry-After seconds.
        int status = sender.send(message).getStatusLine().getStatusCode();
        System.out.println(status);
        System.exit(status < 300 ? 0 : 1);
    }
}
